"""Values of a changed page: told in a sentence, never an error of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from collateral.settings import Settings
from dashboard.app import create_app
from dashboard.model import Viewer
from dashboard.queries import Queries
from tests.dashboard_support import fill
from tests.integration.test_dashboard_pages import sign_in


@pytest.fixture
def queries(settings: Settings) -> Iterator[Queries]:
    assert settings.database_url is not None
    found = Queries(settings.database_url)
    yield found
    found.close()


def asked(client: FlaskClient, output: str, values: dict[str, Any], changed: str = "") -> dict[str, Any]:
    """Answer of the callback that fills `output`, to a page that sends `values` and else what a fresh one does."""
    listed: list[dict[str, Any]] = json.loads(client.get("/_dash-dependencies").get_data())
    found = next(one for one in listed if output in one["output"])

    def filled(needs: list[dict[str, Any]]) -> list[Any]:
        sent: list[Any] = []
        for one in needs:
            name = f"{one['id']}.{one['property']}"
            value: Any = values.get(next((key for key in values if key in name), ""))
            many = one["id"].startswith("{") and isinstance(value, list)
            sent.append([{**one, "value": part} for part in value] if many else {**one, "value": value})
        return sent

    outputs = [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in
               found["output"].strip(".").split("...")]
    body = {
        "output": found["output"], "outputs": outputs if found["output"].startswith("..") else outputs[0],
        "inputs": filled(found["inputs"]), "state": filled(found["state"]), "changedPropIds": [changed] if changed else [],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code in (200, 204), f"{output}, {values}: {answer.status_code}"
    return json.loads(answer.get_data()) if answer.status_code == 200 else {}


def odd(answer: dict[str, Any]) -> str:
    """What the page is told, empty when nothing was odd."""
    said = answer.get("sideUpdate", {}).get("odd-value", {}).get("children")
    return "" if said is None else str(said["props"]["children"])


TRACKS: dict[str, Any] = {"site-id": "S1", "tracks-period": 7}
SITE = {"site-id": "S1"}
LATER, NEXT = "tracks-later.n_clicks", "list-next.n_clicks"
ODD: list[tuple[str, dict[str, Any], str, object]] = [
    *(("tracks-body", {**TRACKS, "tracks-last-day": one}, LATER, one) for one in (
        "yesterday", "2024-13-01", "0001-01-01", "9999-12-31", 7, ["2024-06-03"], "2024-06-03\0", "\ud800", {"a": 1},
    )),
    *(("tracks-body", {**TRACKS, "site-id": one}, "", one) for one in (["S1"], "S\0", 7)),
    ("tracks-body", {**TRACKS, "tracks-asset": {"a": 1}}, "", {"a": 1}),
    ("change-list", {**SITE, "change-kinds": 7}, "", 7),
    ("change-list", {"site-id": 1, "change-kinds": ["roof"]}, "", 1),
    ("imagery-before.children", {"imagery-before-choice": "a.png", "site-id": {"a": 2}}, "", {"a": 2}),
    *(("site-list", {"list-page": one}, NEXT, one) for one in ("two", 1.5, -1)),
    ("site-list", {"filter-text": "\ud800"}, "", "\ud800"),
    *(("site-list", {"filter-kind": one}, "", one) for one in (["factory"], {"a": 1}, 7)),
    *(("site-list", {"list-page": 1}, one, one) for one in ("{bad.n_clicks", "{}x.n_clicks")),
    ("tracks-body", TRACKS, '{"a": ]}.n_clicks', '{"a": ]}.n_clicks'),
    ("all-alerts", {"alert-filter-state": "open"}, "", "open"),
    ("all-alerts", {"alert-filter-state": [{"a": 1}]}, "", {"a": 1}),
    ("page.children", {"location": 7}, "", 7),
]
SOUND: list[tuple[str, dict[str, Any], str]] = [
    ("tracks-body", {**TRACKS, "tracks-last-day": "2024-06-03"}, LATER),
    ("tracks-body", {**TRACKS, "site-id": "S9"}, ""),
    ("change-list", {**SITE, "change-kinds": ["roof"]}, ""),
    ("imagery-before.children", {**SITE, "imagery-before-choice": 3}, ""),
    ("site-list", {"list-page": 3}, NEXT),
    ("all-alerts", {"alert-filter-state": ["open"], "alert-filter-priority": ["high"]}, ""),
    ("page.children", {"location": "/site/S1"}, ""),
]


def test_odd_values_of_a_page_are_told_and_sound_ones_answered(settings: Settings, queries: Queries) -> None:
    assert settings.database_url is not None
    alert_id = fill(settings.database_url, settings.evidence)
    client: FlaskClient = create_app(settings, queries).server.test_client()
    assert sign_in(client, "risk_a") == 302
    for output, values, changed, value in ODD:
        answer = asked(client, output, values, changed)
        assert repr(value) in odd(answer), (output, values)
        assert answer.get("response", {}) == {}, "the rest of the page stays as it is"
    for output, values, changed in SOUND:
        assert odd(asked(client, output, values, changed)) == "", (output, values)

    button = json.dumps({"alert": alert_id, "type": "alert-act", "verb": "shelve"}, separators=(",", ":"))
    place = [{"alert": alert_id, "type": "alert-reason", "verb": ""}]
    form = {"alert-act": [1], '"alert-reason","verb":["ALL"]}.id': place, "alert-reason": ["seen"], "alert-hours": [24]}
    for part, value in (
        ("alert-reason", "\0"), ("alert-reason", 7), ("alert-hours", "long"), ("alert-hours", 10**400),
    ):
        wrong = asked(client, "alert-list", {**form, part: [value]}, f"{button}.n_clicks")
        assert repr(value)[:50] in odd(wrong), (part, value)
    assert "{'alert'" in odd(asked(client, "alert-list", form, "{'alert': 1}.n_clicks"))
    assert "99" in odd(asked(client, "alert-list", form, f"{button.replace(str(alert_id), '99')}.n_clicks"))
    done = asked(client, "alert-list", form, f"{button}.n_clicks")
    assert odd(done) == "" and done["response"]["alert-result"]["children"]
    assert queries.alerts(_risk(queries))[0].alert.state == "shelved"


def _risk(queries: Queries) -> Viewer:
    account = queries.account("risk_a")
    assert account is not None
    return Viewer(account.user, "en")
