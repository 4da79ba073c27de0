"""What is served beside the pages: the map's points, evidence pictures, health."""

from __future__ import annotations

import gzip
import mimetypes
from hashlib import sha256

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from werkzeug.security import safe_join
from werkzeug.wrappers import Response as AnyResponse

from collateral.settings import Settings
from dashboard.auth import viewer
from dashboard.portfolio import choice_from_query, chosen, to_geojson
from dashboard.queries import Queries

EVIDENCE_TYPES = (".jpg", ".jpeg", ".png", ".geojson")
_COMPRESSED_FROM = 2_000
"""Bytes; less is sent as it is."""


def install(server: Flask, queries: Queries, settings: Settings) -> None:
    """Adds the routes. All but `/healthz` are behind the sign-in (see `dashboard.auth`)."""
    mimetypes.add_type("application/geo+json", ".geojson")

    @server.get("/healthz")
    def healthz() -> AnyResponse:
        return jsonify(status="ok", database=queries.reachable())

    @server.get("/data/sites.geojson")
    def sites() -> AnyResponse:
        rows = chosen(queries.portfolio(viewer()).rows, choice_from_query(request.query_string.decode()))
        return _cached(to_geojson(rows), "application/geo+json")

    @server.get("/evidence/<site_id>/<path:name>")
    def evidence(site_id: str, name: str) -> AnyResponse:
        folder = safe_join(str(settings.evidence), site_id)
        if folder is None or not name.lower().endswith(EVIDENCE_TYPES) or not queries.may_see(viewer(), site_id):
            abort(404)
        answer = send_from_directory(folder, name, max_age=86_400)
        answer.headers["Cache-Control"] = "private, max-age=86400"
        return answer


def _cached(body: bytes, kind: str) -> Response:
    """Compressed, and only sent when the browser does not hold the same already."""
    answer = Response(body, mimetype=kind)
    answer.set_etag(sha256(body).hexdigest()[:32])
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.make_conditional(request)
    if answer.status_code == 200 and len(body) > _COMPRESSED_FROM and request.accept_encodings.quality("gzip") > 0:
        answer.set_data(gzip.compress(body, 4))
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
    return answer
