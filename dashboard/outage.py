"""What people see while the database is away: a page that says so in their language, with status 503."""

from __future__ import annotations

import logging

import psycopg2
from flask import Flask, Response, current_app, request
from werkzeug.wrappers import Response as AnyResponse

from collateral.errors import ServiceError
from dashboard.auth import session_locale
from dashboard.i18n import texts

log = logging.getLogger(__name__)
AGAIN_S = 20
"""When programs may ask again, seconds."""


def install(server: Flask) -> None:
    """Answers of requests that the database failed, before or after the person was known.

    Errors of statements (a wrong column) are faults of ours: nobody is told to wait for those.
    """
    for away in (ServiceError, psycopg2.OperationalError, psycopg2.InterfaceError):
        server.register_error_handler(away, _told)


def _told(error: Exception) -> AnyResponse:
    log.error("%s %s could not be answered: %s", request.method, request.path, str(error).strip())
    if request.path.startswith(("/_dash", "/data/", "/evidence/")):
        answer = Response("the database does not answer", 503, mimetype="text/plain")
    else:
        t = texts(session_locale())
        # not by render_template: flask-login adds the person to that, who cannot be known now
        page = current_app.jinja_env.get_template("outage.html").render(t=t, locale=t.locale)
        answer = Response(page, 503, mimetype="text/html")
    answer.headers["Retry-After"] = str(AGAIN_S)
    return answer
