"""Who owns the site, what it secures, and how far the loans are covered."""

from __future__ import annotations

import numpy as np
from dash import html
from dash.development.base_component import Component

from collateral.coordinates import CoordinateSystem, from_wgs84
from collateral.domain import Site
from dashboard.components.parts import card, empty, term
from dashboard.model import LoanView, SiteView, Viewer


def facts_card(viewer: Viewer, view: SiteView) -> Component:
    """Borrower, what stands here, and the loans with their coverage."""
    t, f = viewer.t, viewer.f
    site, borrower = view.site, view.borrower
    terms = [
        term(t("site.borrower"), f.name(borrower.name, borrower.name_en) if borrower else site.borrower_id),
        term(t("site.kind"), t(f"kind.{site.kind}")),
        term(t("site.zone"), site.time_zone),
        *_position(viewer, site),
        term(t("site.devices"), f.number(len(view.devices))),
    ]
    if borrower and borrower.group_name:
        terms.insert(1, term(t("site.group"), borrower.group_name))
    if site.installed_kwp is not None:
        terms.append(term(t("site.kwp"), f"{f.number(site.installed_kwp)} kWp"))
    if site.panel_area_m2 is not None:
        terms.append(term(t("site.panels"), f"{f.number(site.panel_area_m2)} m²"))
    loans = [_loan(viewer, one, site.time_zone) for one in view.loans] or [empty(t("loan.none"))]
    return card(t("site.facts"), html.Dl(terms, className="terms"), html.H3(t("loan.title")), *loans)


def _position(viewer: Viewer, site: Site) -> list[Component]:
    """The middle of the site, in the system of satellites and in the one Chinese maps are searched by (latitude first)."""
    middle = site.geometry.representative_point()
    here = np.array([[middle.x, middle.y]])
    drawn = from_wgs84(here, CoordinateSystem.GCJ02)
    shown = {"site.position": here} | ({} if np.array_equal(here, drawn) else {"site.position_gcj": drawn})
    return [term(viewer.t(key), f"{at[0, 1]:.5f}, {at[0, 0]:.5f}") for key, at in shown.items()]


def _loan(viewer: Viewer, one: LoanView, zone: str) -> Component:
    t, f = viewer.t, viewer.f
    loan, coverage = one.loan, one.coverage
    terms = [
        term(t("loan.outstanding"), f.money(float(loan.outstanding), loan.currency)),
        term(t("loan.matures"), f.day(loan.matures_on)),
        term(t("loan.branch"), loan.branch),
    ]
    covenant = loan.covenant_min_coverage
    if coverage is not None and coverage.outstanding > 0:
        ratio = coverage.value / coverage.outstanding
        broken = covenant is not None and ratio < float(covenant)
        terms.insert(1, term(t("loan.value"), f.money(coverage.value, coverage.currency)))
        said = f"{f.ratio(ratio)} {t('loan.below')}" if broken else f.ratio(ratio)
        terms.insert(2, term(t("loan.coverage"), html.Span(said, className="outside" if broken else "")))
        terms.insert(3, term(t("loan.as_of"), f.moment(coverage.at, zone)))
    if covenant is not None:
        terms.append(term(t("loan.covenant"), f.ratio(float(covenant))))
    return html.Div([html.H4(loan.loan_id), html.Dl(terms, className="terms")], className="loan")
