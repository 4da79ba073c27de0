"""Goods on open ground and changes since the picture before, as the scan sees them: one look at the ground gives both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from collateral.domain import Observation, Quality, SiteKind
from collateral.files import write_whole
from detection.change import Change, View, comparable, find_changes
from detection.change_views import DatedView, ViewStore, make_view
from detection.consumers import method_of
from detection.evidence import write_evidence
from detection.infer import PanelSegmenter, VehicleDetector
from detection.locate import Located, locate_mask
from detection.observe import Estimate, observation
from detection.stock import MIN_SEEN, ROOF, Cover, StockSegmenter, cover_of
from imagery.scan import SiteWindow, WindowReading
from imagery.target import SiteTarget, mask_inside, to_lonlat

_MIN_GOODS_M2 = 2.0
_WHOLE_SITE_SEEN = 0.2
"""Of a site without a drawn yard halls may hide more: what is open must be at least this part of it."""
_LISTED = 60
"""Changes named in an observation; the file has all."""
_MISSED = 0.15
"""Share by which the upper end lies above the changes found: what was not seen to change."""


class GroundConsumer:
    """stock_cover of yards and site, changed_area_m2 of the site since the picture before."""

    def __init__(
        self, segmenter: StockSegmenter, vehicles: VehicleDetector, panels: PanelSegmenter, evidence: Path
    ) -> None:
        self._segmenter = segmenter
        self._vehicles = vehicles
        self._panels = panels
        self._evidence = evidence
        self.name = "ground"
        used = (segmenter.model_sha256, vehicles.model_sha256, panels.model_sha256)
        self.model_sha256 = hashlib.sha256("".join(used).encode()).hexdigest()
        self.gsd_m = vehicles.gsd_m
        self._views = ViewStore(evidence / "views", self.model_sha256)

    def wants(self, target: SiteTarget) -> bool:
        """Every site."""
        return True

    def consume(self, window: SiteWindow) -> WindowReading:
        """Cover where goods stand in the open, changes where an earlier view is kept. A doubtful picture is not compared."""
        site, record = window.target.site, window.scene.record
        panels = self._panels if site.kind is SiteKind.SOLAR else None
        on_panels = window.on_grids.get(self._panels.gsd_m)
        view = make_view(window.pixels, self._segmenter, self._vehicles, panels, record.gsd_m, on_panels)
        method = method_of(self.name, self.model_sha256)
        changes, earlier, why = self._changes(window, view)
        goods = locate_mask(view.goods >= self._segmenter.threshold, view.goods, view.grid, "goods", _MIN_GOODS_M2)
        on_site = [item for item in goods if item.geometry.intersects(window.target.polygon)]
        files = write_evidence(self._evidence, window, method, [*on_site, *(_located(item, view) for item in changes)])
        evidence = {"scene_id": record.scene_id, "gsd_m": round(record.gsd_m, 3), **files.as_dict()}
        covers, said = self._covers(window, view, method, evidence)
        rows = list(covers)
        figures: dict[str, object] = {**said, **files.as_dict(), "changes": len(changes), "not_compared": why}
        if earlier is not None:
            listed = self._write_changes(files.geojson, changes, earlier, view)
            unseen_m2 = _unseen_m2(earlier.view, view, window.target.polygon)
            told = {**evidence, **listed, "unseen_m2": round(unseen_m2, 1)}
            rows.append(observation(window, "changed_area_m2", method, changed_area(changes, unseen_m2), told))
            figures |= {"since": earlier.acquired_at.isoformat(), "by_kind": listed["by_kind"]}
        return WindowReading(tuple(rows), figures)

    def _changes(self, window: SiteWindow, view: View) -> tuple[list[Change], DatedView | None, str]:
        """Changes since the view before, that view, and why nothing was compared."""
        if window.quality is not Quality.GOOD:
            return [], None, "doubtful picture"
        site_id, record = window.target.site.site_id, window.scene.record
        earlier = self._views.before(site_id, record.acquired_at, view.grid)
        self._views.put(site_id, DatedView(record.scene_id, record.acquired_at, view))
        if earlier is None:
            return [], None, "first picture"
        return find_changes(earlier.view, view, window.target.polygon), earlier, ""

    def _covers(
        self, window: SiteWindow, view: View, method: str, evidence: Mapping[str, object]
    ) -> tuple[list[Observation], dict[str, object]]:
        """Observations of cover, and the figures of the window: null with its reason where goods cannot be seen."""
        site = window.target.site
        if site.kind is SiteKind.SOLAR or (window.target.slots and not window.target.yard_polygons):
            return [], {}
        if site.roofed:
            return [], {"stock_cover": None, "stock_cover_reason": ROOF}
        yards = window.target.yard_polygons
        covers = {yard_id: self._cover(shape, view, MIN_SEEN) for yard_id, shape in yards.items()}
        rows = [
            observation(window, "stock_cover", method, _estimate(cover), {**evidence, "seen": round(cover.seen, 3)}, yard_id)
            for yard_id, cover in covers.items() if cover.value is not None
        ]
        ground = shapely.union_all(list(yards.values())) if yards else window.target.polygon
        whole = self._cover(ground, view, MIN_SEEN if yards else _WHOLE_SITE_SEEN)
        unseen = {yard_id: cover.reason for yard_id, cover in covers.items() if cover.value is None}
        said: dict[str, object] = {"stock_cover": whole.value, "stock_cover_reason": whole.reason, "yards_not_seen": unseen}
        if whole.value is not None:
            more = {"seen": round(whole.seen, 3), "denominator": round(float(ground.area), 1), "yards": len(yards)}
            rows.append(observation(window, "stock_cover", method, _estimate(whole), {**evidence, **more}))
        return rows, said

    def _cover(self, ground: BaseGeometry, view: View, min_seen: float) -> Cover:
        inside = mask_inside(ground, view.grid)
        limit, error95 = self._segmenter.threshold, self._segmenter.error95
        return cover_of(inside, view.valid, view.goods, view.roof, error95, limit, min_seen)

    def _write_changes(
        self, geojson: str, changes: Sequence[Change], earlier: DatedView, view: View
    ) -> dict[str, object]:
        """Writes every change with its outline beside the evidence; returns what the observation carries."""
        path = geojson.removesuffix(".geojson") + ".changes.geojson"
        content = {
            "type": "FeatureCollection", "since": earlier.acquired_at.isoformat(), "since_scene": earlier.scene_id,
            "features": [_feature(item, view.grid.epsg) for item in changes],
        }
        write_whole(self._evidence / path, json.dumps(content).encode())
        by_kind: dict[str, float] = {}
        for item in changes:
            by_kind[item.kind] = round(by_kind.get(item.kind, 0.0) + item.area_m2, 1)
        listed = [
            {"kind": item.kind, "direction": item.direction, "area_m2": round(item.area_m2, 1),
             "confidence": round(item.confidence, 2)} for item in changes[:_LISTED]
        ]
        return {
            "since": earlier.acquired_at.isoformat(), "since_scene": earlier.scene_id, "by_kind": by_kind, "changes": listed,
            "changes_geojson": path,
        }


def _estimate(cover: Cover) -> Estimate:
    assert cover.value is not None
    return Estimate(cover.value, cover.lower, cover.upper)


def _unseen_m2(before: View, after: View, site: BaseGeometry) -> float:
    """Area of the site that was not compared because one of the two dates does not show it, square metres."""
    inside = mask_inside(site, after.grid)
    return float(site.area) * (1 - int((inside & comparable(before, after)).sum()) / max(int(inside.sum()), 1))


def changed_area(changes: Sequence[Change], unseen_m2: float) -> Estimate:
    """Area of the changes that are not vehicles: at least what their confidences say, at most what may be missed more.

    `unseen_m2`: of the site, not compared; all of it may have changed.
    """
    areas = [(item.area_m2, item.confidence) for item in changes if item.kind != "vehicles"]
    value = sum(area for area, _ in areas)
    return Estimate(value, sum(area * sure for area, sure in areas), value * (1 + _MISSED) + unseen_m2)


def _located(item: Change, view: View) -> Located:
    return Located(item.geometry, view.grid.epsg, item.confidence, item.kind)


def _feature(item: Change, epsg: int) -> dict[str, object]:
    properties: dict[str, object] = {
        "kind": item.kind, "direction": item.direction, "area_m2": round(item.area_m2, 1),
        "confidence": round(item.confidence, 3),
    }
    if item.moved_from is not None:
        properties["moved_from"] = shapely.geometry.mapping(_lonlat(item.moved_from, epsg))
    return {"type": "Feature", "geometry": shapely.geometry.mapping(_lonlat(item.geometry, epsg)), "properties": properties}


def _lonlat(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    return shapely.set_precision(to_lonlat(geometry, epsg), 1e-8, mode="pointwise")
