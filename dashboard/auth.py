"""Signing in with local accounts, the session, and the headers that keep other sites out.

The session is a signed cookie (HttpOnly, SameSite=Lax). It ends when the person's password changes, for it carries a mark of
the hash. Forms carry a token of the session; every other writing request must come from our own pages.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from flask import Flask, Response, current_app, redirect, render_template, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response as AnyResponse

from collateral.errors import ServiceError
from collateral.passwords import verify_password
from collateral.settings import Settings
from dashboard.i18n import CATALOGUES, DEFAULT_LOCALE, texts
from dashboard.model import Account, Viewer
from dashboard.queries import Queries

log = logging.getLogger(__name__)

SESSION_LASTS = timedelta(hours=12)
LOCALE_COOKIE = "collateral_locale"
"""Kept apart from the session, which answers under way could set back."""
OPEN_PATHS = ("/login", "/healthz", "/assets/", "/language/")
"""Paths that need no sign-in."""


class SignedIn(UserMixin):  # type: ignore[misc]
    """What flask-login keeps of a person during a request."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def get_id(self) -> str:
        """Name and mark of the password: a changed password ends the session."""
        return f"{self.account.stamp}:{self.account.user.username}"


def viewer() -> Viewer:
    """The person of this request.

    Raises:
        PermissionError: nobody is signed in.
    """
    if not current_user.is_authenticated:
        raise PermissionError("Nobody is signed in; open /login.")
    user = current_user.account.user
    return Viewer(user, session_locale(user.locale))


def session_locale(otherwise: str | None = None) -> str:
    """Locale chosen in this browser, else `otherwise`, else what the browser prefers."""
    chosen = request.cookies.get(LOCALE_COOKIE)
    if chosen in CATALOGUES:
        return str(chosen)
    if otherwise in CATALOGUES:
        return str(otherwise)
    return request.accept_languages.best_match(list(CATALOGUES)) or DEFAULT_LOCALE


def form_token() -> str:
    """The token every form of this session carries."""
    if "token" not in session:
        session["token"] = secrets.token_urlsafe(24)
    return str(session["token"])


def token_fits() -> bool:
    """Whether the form that was sent carries the token of this session."""
    return hmac.compare_digest(request.form.get("token", "").encode(), form_token().encode())


def local_path(target: str | None) -> str:
    """`target` when it is a path on this server, else the start page: no one is sent elsewhere after signing in."""
    if not target or "\\" in target or any(ord(letter) < 32 for letter in target):
        return "/"
    # Browsers take every address that begins with two slashes or more for another server's.
    return target if target.startswith("/") and not target.startswith("//") else "/"


def with_next(address: str, target: str) -> str:
    """`address` that leads on to the path `target`; what the path asks for (`?a=1&b=2`) stays its own."""
    return address if target == "/" else f"{address}?next={quote(target, safe='/')}"


def secret_key(settings: Settings) -> str:
    """The key that signs sessions: from the settings, else made once and kept in the runtime folder, readable by us alone.

    Raises:
        ServiceError: the file cannot be written or read.
    """
    if settings.dashboard.secret_key:
        return settings.dashboard.secret_key
    path = settings.runtime / "dashboard.key"
    try:
        settings.runtime.mkdir(parents=True, exist_ok=True)
        _create_private(path, secrets.token_hex(32))
        return path.read_text().strip()
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be used ({error}); set COLLATERAL_SECRET_KEY or make the folder writable."
        ) from error


def _create_private(path: Path, content: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(content)


def install(server: Flask, queries: Queries, settings: Settings) -> None:
    """Adds sessions, the sign-in pages and the guard of every request."""
    server.config.update(
        SECRET_KEY=secret_key(settings),
        SESSION_COOKIE_NAME="collateral_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.dashboard.https,
        PERMANENT_SESSION_LIFETIME=SESSION_LASTS,
        # Set again with every answer, the cookie of a slow request would undo what a quicker one has changed.
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
    )
    manager = LoginManager(server)
    manager.session_protection = None  # people change networks; the cookie itself is signed and short-lived

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(token: str) -> SignedIn | None:
        stamp, _, username = token.partition(":")
        account = queries.account(username)
        if account is None or not hmac.compare_digest(stamp, account.stamp):
            return None
        return SignedIn(account)

    server.before_request(_refuse_foreign)
    server.before_request(_require_sign_in)
    server.add_url_rule("/login", "login", _login(queries), methods=["GET", "POST"])
    server.add_url_rule("/logout", "logout", _logout, methods=["POST"])
    server.add_url_rule("/language/<locale>", "language", _language, methods=["GET"])


def _refuse_foreign() -> AnyResponse | None:
    """Writing requests must come from our own pages (Sec-Fetch-Site, else Origin)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = site not in ("same-origin", "none") if site else origin is not None and urlsplit(origin).netloc != request.host
    return Response("forbidden", 403, mimetype="text/plain") if foreign else None


def _require_sign_in() -> AnyResponse | None:
    path = request.path
    if path in OPEN_PATHS or any(path.startswith(one) for one in OPEN_PATHS if one.endswith("/")):
        return None
    if current_user.is_authenticated:
        return None
    if request.method == "GET" and not path.startswith(("/_dash", "/_reload", "/data/", "/evidence/")):
        return redirect(with_next("/login", request.full_path.rstrip("?")))
    return Response("sign in", 401, mimetype="text/plain")


def _login(queries: Queries) -> Callable[[], AnyResponse | str | tuple[str, int]]:
    def login() -> AnyResponse | str | tuple[str, int]:
        target = local_path(request.values.get("next"))
        if request.method == "GET":
            return redirect(target) if current_user.is_authenticated else _form(target)
        if not token_fits():
            return _form(target, "login.expired"), 400
        username = request.form.get("username", "").replace("\0", "").strip()[:200]
        problem = _sign_in(queries, username, request.form.get("password", "")[:1000])
        if problem is not None:
            return _form(target, problem), 401
        return redirect(target)

    return login


def _sign_in(queries: Queries, username: str, password: str) -> str | None:
    """None when it worked, else the key of the message. While locked, even the right password is not looked at."""
    kept = queries.credential(username)
    locked = kept is not None and kept.locked_until is not None and kept.locked_until > datetime.now(UTC)
    right = verify_password(password, None if kept is None or locked else kept.password_hash)
    if locked:
        return "login.locked"
    if kept is None or not right:
        log.warning("sign-in refused for %r from %s", username, request.remote_addr)
        if kept is not None:
            queries.note_sign_in(username, succeeded=False)
        return "login.wrong"
    queries.note_sign_in(username, succeeded=True)
    account = queries.account(username)
    if account is None:
        return "login.wrong"
    session.clear()  # a token known before signing in is worth nothing after
    form_token()
    session.permanent = True
    login_user(SignedIn(account))
    log.info("%s signed in from %s", username, request.remote_addr)
    return None


def _form(target: str, problem: str | None = None) -> str:
    t = texts(session_locale())
    other = next(name for name in CATALOGUES if name != t.locale)
    return render_template(
        "login.html", t=t, locale=t.locale, token=form_token(), target=target, problem=problem, other=other,
        username=request.form.get("username", ""), switch=with_next(f"/language/{other}", with_next("/login", target)),
    )


def _logout() -> AnyResponse:
    if not token_fits():
        return Response("forbidden", 403, mimetype="text/plain")
    logout_user()
    session.clear()
    return redirect("/login")


def _language(locale: str) -> AnyResponse:
    answer = redirect(local_path(request.args.get("next")))
    if locale in CATALOGUES:
        answer.set_cookie(
            LOCALE_COOKIE, locale, max_age=timedelta(days=365), httponly=True, samesite="Lax",
            secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        )
    return answer
