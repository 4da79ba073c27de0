"""What is served beside the pages: the map's points, evidence pictures, health."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from hashlib import sha256
from weakref import WeakKeyDictionary

from flask import Flask, Response, abort, jsonify, request, send_from_directory
from werkzeug.security import safe_join
from werkzeug.wrappers import Response as AnyResponse

from collateral.settings import Settings
from dashboard.auth import viewer
from dashboard.model import Snapshot
from dashboard.portfolio import Choice, choice_from_query, chosen, to_geojson
from dashboard.queries import Queries

EVIDENCE_TYPES = (".jpg", ".jpeg", ".png", ".geojson")
_COMPRESSED_FROM = 2_000
"""Bytes; less is sent as it is."""


@dataclass(frozen=True)
class Body:
    """Points of the map, ready to be sent."""

    plain: bytes
    packed: bytes | None
    """The same by gzip; None where that is not worth while."""
    etag: str


def install(server: Flask, queries: Queries, settings: Settings) -> None:
    """Adds the routes. All but `/healthz` are behind the sign-in (see `dashboard.auth`)."""
    whole: WeakKeyDictionary[Snapshot, Body] = WeakKeyDictionary()
    mimetypes.add_type("application/geo+json", ".geojson")

    @server.get("/healthz")
    def healthz() -> AnyResponse:
        return jsonify(status="ok", database=queries.reachable())

    @server.get("/data/sites.geojson")
    def sites() -> AnyResponse:
        snapshot, wanted = queries.portfolio(viewer()), choice_from_query(request.query_string.decode(errors="replace"))
        if wanted != Choice():
            return _answer(_body(to_geojson(chosen(snapshot.rows, wanted))))
        if snapshot not in whole:  # two requests at once may both make it; the last stays
            whole[snapshot] = _body(to_geojson(snapshot.rows))
        return _answer(whole[snapshot])

    @server.get("/evidence/<site_id>/<path:name>")
    def evidence(site_id: str, name: str) -> AnyResponse:
        folder = safe_join(str(settings.evidence), site_id)
        readable = folder is not None and "\0" not in request.path and name.lower().endswith(EVIDENCE_TYPES)
        if folder is None or not readable or not queries.may_see(viewer(), site_id):
            abort(404)
        answer = send_from_directory(folder, name, max_age=86_400)
        answer.headers["Cache-Control"] = "private, max-age=86400"
        return answer


def _body(plain: bytes) -> Body:
    return Body(plain, gzip.compress(plain, 3) if len(plain) > _COMPRESSED_FROM else None, sha256(plain).hexdigest()[:32])


def _answer(body: Body) -> Response:
    """Compressed, and only sent when the browser does not hold the same already."""
    packed = body.packed if request.accept_encodings.quality("gzip") > 0 else None
    answer = Response(body.plain if packed is None else packed, mimetype="application/geo+json")
    if packed is not None:
        answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding"
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.set_etag(body.etag)
    answer.make_conditional(request)
    return answer
