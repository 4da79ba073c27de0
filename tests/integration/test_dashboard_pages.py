"""Signing in, what each branch may see, evidence, acts on alerts: the real server on a real database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from statistics import median

import pytest
from flask.testing import FlaskClient

from collateral.db import reference
from collateral.db.alerts import NewAlert, alert, alert_events, raise_alert
from collateral.db.observations import write_observations
from collateral.db.pool import Role, connect
from collateral.domain import AlertState, Portfolio, Priority, Source, SubjectKind, User
from collateral.errors import InvalidInputError
from collateral.passwords import set_password
from collateral.settings import Settings
from dashboard.app import create_app, page_for
from dashboard.components.breakdown import breakdown_card
from dashboard.components.parts import page_header
from dashboard.ids import Shell
from dashboard.model import Viewer
from dashboard.normal import charts, witnesses
from dashboard.queries import Queries
from scoring.baseline import window
from scoring.calendar import DayClass, SiteCalendar
from scoring.policy import load_policy
from tests.dashboard_support import NOW, PASSWORD, PICTURE, fill, import_portfolio, words


@pytest.fixture
def queries(database: str) -> Iterator[Queries]:
    found = Queries(database)
    yield found
    found.close()


@pytest.fixture
def client(settings: Settings, queries: Queries) -> FlaskClient:
    assert settings.database_url is not None
    fill(settings.database_url, settings.evidence)
    made: FlaskClient = create_app(settings, queries).server.test_client()
    return made


def sign_in(client: FlaskClient, username: str, password: str = PASSWORD, **more: str) -> int:
    form = client.get("/login").get_data(as_text=True)
    found = re.search(r'name="token" value="([^"]+)"', form)
    token = found.group(1) if found else ""
    return client.post("/login", data={"username": username, "password": password, "token": token, **more}).status_code


def viewer(queries: Queries, username: str) -> Viewer:
    account = queries.account(username)
    assert account is not None
    return Viewer(account.user, account.user.locale)


def points(client: FlaskClient, query: str = "") -> set[str]:
    answer = client.get(f"/data/sites.geojson{query}")
    assert answer.status_code == 200
    return {feature["properties"]["id"] for feature in json.loads(answer.get_data())["features"]}


def test_nothing_is_shown_before_signing_in(client: FlaskClient) -> None:
    assert client.get("/").location == "/login"
    assert client.get("/site/S1").location == "/login?next=/site/S1"
    for path in ("/data/sites.geojson", "/evidence/S1/picture0.png", "/_dash-layout"):
        assert client.get(path).status_code == 401, path
    assert client.post("/_dash-update-component", json={}).status_code == 401
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"database": True, "status": "ok"})


def test_wrong_passwords_lock_the_account_even_for_the_right_one(client: FlaskClient) -> None:
    for _ in range(5):
        assert sign_in(client, "officer_a", "wrong password") == 401
    assert sign_in(client, "officer_a") == 401
    assert client.get("/").location == "/login"
    assert sign_in(client, "officer_b") == 302, "others are not locked"


def test_a_form_from_elsewhere_is_refused(client: FlaskClient) -> None:
    data = {"username": "officer_a", "password": PASSWORD}
    assert client.post("/login", data=data).status_code == 400, "no token of this session"
    assert sign_in(client, "officer_a") == 302
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/_dash-update-component", json={}, headers=headers).status_code == 403
    assert client.post("/logout").status_code == 403
    assert client.get("/data/sites.geojson").status_code == 200, "still signed in"


def test_the_session_cookie_is_closed_to_scripts_and_ends_with_the_password(client: FlaskClient, database: str) -> None:
    client.get("/login")
    sign_in(client, "officer_a")
    cookie = client.get_cookie("collateral_session")
    assert cookie is not None and cookie.http_only and cookie.same_site == "Lax"
    with closing(connect(database, Role.APP)) as connection, connection:
        set_password(connection, "officer_a", "another long password")
    assert client.get("/data/sites.geojson").status_code == 401


def test_behind_https_the_cookies_are_marked_secure(settings: Settings, queries: Queries) -> None:
    behind_tls = replace(settings, dashboard=replace(settings.dashboard, https=True))
    secure = create_app(behind_tls, queries).server.test_client()
    answer = secure.get("/login", base_url="https://localhost")
    assert "Secure" in answer.headers["Set-Cookie"]
    plain = create_app(settings, queries).server.test_client()
    assert "Secure" not in plain.get("/login").headers["Set-Cookie"]


def test_the_way_after_signing_in_leads_to_no_other_server(client: FlaskClient) -> None:
    form = client.get("/login?next=https://evil.example/").get_data(as_text=True)
    assert "evil.example" not in form
    token = re.search(r'name="token" value="([^"]+)"', form)
    assert token is not None
    data = {"username": "officer_a", "password": PASSWORD, "token": token.group(1), "next": "//evil.example"}
    assert client.post("/login", data=data).location == "/"


@pytest.mark.parametrize("elsewhere", ["///evil.test", "////evil.test", "/\\evil.test", "/\t/evil.test", " //evil.test"])
def test_more_slashes_lead_to_no_other_server_either(client: FlaskClient, elsewhere: str) -> None:
    assert client.get("/language/en", query_string={"next": elsewhere}).location == "/"


def test_the_way_after_signing_in_keeps_what_was_asked_for(client: FlaskClient) -> None:
    wanted = "/site/S1?from=2026-01-01&text=%E5%8E%82%26b"
    there = client.get(wanted).location
    form = client.get(there).get_data(as_text=True)
    switch = re.search(r'href="(/language/[^"]+)"', form)
    token = re.search(r'name="token" value="([^"]+)"', form)
    target = re.search(r'name="next" value="([^"]+)"', form)
    assert switch is not None and token is not None and target is not None
    assert client.get(unescape(switch.group(1))).location == there, "choosing a language loses nothing"
    data = {"username": "officer_a", "password": PASSWORD, "token": token.group(1), "next": unescape(target.group(1))}
    assert client.post("/login", data=data).location == wanted


def test_each_branch_sees_its_own_sites_only(client: FlaskClient, queries: Queries) -> None:
    sign_in(client, "officer_a")
    assert points(client) == {"S1", "S2"}
    assert points(client, "?grade=E") == {"S1"}
    with client.get("/evidence/S1/picture0.png") as picture:
        assert picture.data == PICTURE
    policy = load_policy()
    mine = words(page_for(queries, policy, viewer(queries, "officer_a"), "/site/S1"))
    assert "一号工厂" in mine
    other = viewer(queries, "officer_b")
    refused = words(page_for(queries, policy, other, "/site/S1"))
    assert "一号工厂" not in refused and other.t("problem.missing") in refused
    assert queries.alerts(other) == []
    assert [row.site_id for row in queries.portfolio(viewer(queries, "risk_a")).rows] == ["S3", "S1", "S2"]


def test_an_alert_about_another_branchs_loan_on_a_shared_site_is_not_shown(
    client: FlaskClient, queries: Queries, database: str
) -> None:
    officer = viewer(queries, "officer_a")
    with closing(connect(database, Role.APP)) as connection, connection:
        loans = {one.branch: one.loan_id for one in reference.loans(connection)}
        ours, theirs = (
            raise_alert(
                connection,
                NewAlert("covenant_breach", SubjectKind.LOAN, loan, "S1", Priority.HIGH, NOW, "test", {}),
            )
            for loan in (loans[officer.branch], next(loan for branch, loan in loans.items() if branch != officer.branch))
        )
    view = queries.site(officer, "S1")
    assert view is not None
    assert {ours} == {ours, theirs} & {one.alert_id for one in view.alerts}
    assert {ours} == {ours, theirs} & {one.alert.alert_id for one in queries.alerts(officer)}
    with pytest.raises(InvalidInputError, match="another branch"):
        queries.act(officer, theirs, "clear", "seen", 0)
    with pytest.raises(InvalidInputError, match="168 hours"):
        queries.act(officer, ours, "shelve", "later", float("nan"))


def test_odd_input_is_refused_and_breaks_nothing(client: FlaskClient) -> None:
    assert client.post("/login", data={"username": "\0", "password": "x", "token": "\u00e9"}).status_code == 400
    assert sign_in(client, "officer\0_a") == 302, "what cannot be stored is left out"
    assert client.get("/evidence/S1%00/picture0.png").status_code == 404
    assert client.get("/data/sites.geojson", environ_overrides={"QUERY_STRING": "text=\xff"}).status_code == 200
    assert client.post("/logout", data={"token": "\u00e9"}).status_code == 403


def test_evidence_of_other_branches_and_other_files_is_not_served(client: FlaskClient, settings: Settings) -> None:
    (settings.runtime / "secret.png").write_bytes(b"secret")
    (settings.evidence / "S1" / "notes.txt").write_text("not a picture")
    sign_in(client, "officer_b")
    assert client.get("/evidence/S1/picture0.png").status_code == 404
    fresh = client.application.test_client()
    sign_in(fresh, "officer_a")
    for path in ("S1/../../secret.png", "S1/%2e%2e/%2e%2e/secret.png", "../secret.png", "S1/notes.txt", "S1/absent.png"):
        assert fresh.get(f"/evidence/{path}").status_code in (301, 302, 308, 404), path
        assert b"secret" not in fresh.get(f"/evidence/{path}", follow_redirects=True).data


def test_the_breakdown_adds_up_to_what_is_missing_from_100(client: FlaskClient, queries: Queries) -> None:
    risk = viewer(queries, "risk_a")
    view = queries.site(risk, "S1")
    assert view is not None and view.score is not None
    said = words(breakdown_card(risk, view.score))
    assert "100.00 − 57.90 = 42.10" in said
    assert said.count("19.30") == 1 and said.count("38.60") == 1
    assert "no evidence: prior" in said


def test_a_site_without_score_or_picture_says_so(client: FlaskClient, queries: Queries) -> None:
    risk = viewer(queries, "risk_a")
    said = words(page_for(queries, load_policy(), risk, "/site/S3"))
    missing = ("score.none_yet", "imagery.none", "side.telemetry_none", "alerts.none_waiting", "witness.none")
    for key in (*missing, "witness.roofed"):
        assert risk.t(key) in said, key


def test_no_page_uses_an_element_id_twice(client: FlaskClient, queries: Queries) -> None:
    risk, policy = viewer(queries, "risk_a"), load_policy()
    shell = [Shell.LOCATION, Shell.ANCHOR, Shell.ODD, Shell.PAGE, Shell.CONTENT]
    for path in ("/", "/alerts", "/site/S1", "/site/S3", "/nowhere"):
        parts = [page_header(risk, path, "token"), page_for(queries, policy, risk, path)]
        everything = [one for part in parts for one in [part, *part._traverse()]]  # type: ignore[no-untyped-call]
        found = [str(one.id) for one in everything if getattr(one, "id", None)]
        twice = {name for name in found if found.count(name) > 1} | set(found) & set(shell)
        assert twice == set(), path


def test_charts_show_the_normal_that_the_score_uses(client: FlaskClient, queries: Queries) -> None:
    view = queries.site(viewer(queries, "risk_a"), "S1")
    assert view is not None
    policy = load_policy()
    energy, vehicles = charts(view, policy, NOW)
    assert (energy.quantity, vehicles.quantity) == ("energy_kwh_per_day", "vehicle_count")
    calendar = SiteCalendar(policy.calendar, view.site.time_zone, [one.day for one in view.holidays])
    raised = NOW - timedelta(days=2)  # baselines stand still from the alert on
    begin, end = window(NOW, raised, policy.indicators["energy"].baseline)
    working = [
        one.value
        for one in view.observations
        if one.quantity == "energy_kwh_per_day" and begin <= one.valid_from < end
        and calendar.day_class(calendar.local_day(one.valid_from)) is DayClass.WORKING
    ]
    band = next(one for one in energy.band if calendar.day_class(one.day) is DayClass.WORKING)
    assert band.middle == median(working) and band.low < band.middle < band.high
    assert vehicles.band == [], "one earlier picture makes no normal"
    assert {source for source, told in witnesses(view, NOW - timedelta(days=30)).items() if told} == set(Source)


def test_what_is_said_of_days_to_come_is_not_shown(client: FlaskClient, queries: Queries, database: str) -> None:
    before = queries.site(viewer(queries, "risk_a"), "S1")
    assert before is not None and before.observations
    later = {name: NOW + timedelta(days=days) for name, days in (("valid_from", 1), ("valid_to", 2), ("known_at", 2))}
    with closing(connect(database, Role.APP)) as connection, connection:
        write_observations(connection, [replace(before.observations[-1], observation_id=None, **later)])
    after = queries.site(viewer(queries, "risk_a"), "S1")
    assert after is not None and after.observations == before.observations


def test_acts_on_alerts_are_recorded_in_the_persons_name(client: FlaskClient, queries: Queries, database: str) -> None:
    officer = viewer(queries, "officer_a")
    alert_id = queries.alerts(officer)[0].alert.alert_id
    with pytest.raises(InvalidInputError, match="another branch"):
        queries.act(viewer(queries, "officer_b"), alert_id, "acknowledge", "", 0)
    with pytest.raises(InvalidInputError, match="may look"):
        queries.act(replace(officer, user=replace(officer.user, role="auditor")), alert_id, "acknowledge", "", 0)
    with pytest.raises(InvalidInputError, match="reason"):
        queries.act(officer, alert_id, "shelve", " ", 24)
    assert queries.act(officer, alert_id, "shelve", "visit on Monday", 24) == "S1"
    with closing(connect(database, Role.APP)) as connection, connection:
        found = alert(connection, alert_id)
        last = alert_events(connection, alert_id)[-1]
    assert (found.state, found.actor, last.reason) == (AlertState.SHELVED, "officer_a", "visit on Monday")
    assert found.expires_at is not None
    assert queries.portfolio(officer).rows[0].high == 0, "a shelved alert does not wait"


def test_the_page_names_the_language_of_the_person_and_of_the_switch(client: FlaskClient) -> None:
    sign_in(client, "officer_a")
    assert '<html lang="zh">' in client.get("/").get_data(as_text=True)
    assert client.get("/language/en?next=/site/S1").location == "/site/S1"
    assert '<html lang="en">' in client.get("/").get_data(as_text=True)
    assert "Set-Cookie" not in client.get("/data/sites.geojson").headers, "answers under way must not set a session back"
    assert client.get("/language/en?next=//evil.example").location == "/"


def test_an_empty_portfolio_has_an_empty_map(settings: Settings, queries: Queries, database: str) -> None:
    import_portfolio(database, Portfolio(users=(User("risk_a", "Li Si", "risk", "", "en"),)))
    said = words(page_for(queries, load_policy(), viewer(queries, "risk_a"), "/"))
    assert "No site is monitored yet" in said


def test_the_secret_key_is_kept_and_private(settings: Settings, queries: Queries) -> None:
    first = create_app(settings, queries).server.config["SECRET_KEY"]
    assert create_app(settings, queries).server.config["SECRET_KEY"] == first
    assert (settings.runtime / "dashboard.key").stat().st_mode & 0o077 == 0
    assert len(first) == 64 and Path(settings.runtime / "dashboard.key").read_text() == first
