"""Writing a scene: a JPEG-compressed cloud-optimised GeoTIFF and its truth as JSON beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import rasterio
from rasterio.io import MemoryFile
from rasterio.shutil import copy as raster_copy
from rasterio.transform import Affine
from shapely.geometry import Polygon, mapping

from data_samples.render_canvas import ByteArray
from data_samples.scene_model import SceneTruth

JPEG_QUALITY = 85


def truth_path(scene: Path) -> Path:
    """Where the truth of a scene file lies."""
    return scene.with_suffix(".truth.json")


def write_scene(path: Path, image: ByteArray, truth: SceneTruth, source: str, available: datetime) -> None:
    """Write `image` (rows, columns, 3) as COG to `path` and the truth beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "width": truth.width_px, "height": truth.height_px, "count": 3, "dtype": "uint8",
        "crs": f"EPSG:{truth.crs_epsg}", "transform": Affine(*truth.transform), "photometric": "RGB",
    }
    utc = truth.acquired_at.astimezone(UTC)
    tags = {
        "TIFFTAG_DATETIME": utc.strftime("%Y:%m:%d %H:%M:%S"), "ACQUIRED_AT": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SOURCE": source, "GSD_M": f"{truth.gsd_m:g}", "SITE_IDS": ",".join(truth.site_ids),
        "AVAILABLE_AT": available.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "CLOUD_COVER": f"{truth.cloud_fraction:.3f}",
    }
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(image.transpose(2, 0, 1))
            dataset.update_tags(**tags)
        with memory.open() as dataset:
            raster_copy(
                dataset, path, driver="COG", compress="JPEG", quality=JPEG_QUALITY, blocksize=256,
                overview_resampling="average",
            )
    truth_path(path).write_bytes(orjson.dumps(truth_document(truth), option=orjson.OPT_INDENT_2))


def _geometry(polygon: Polygon) -> Any:
    rings = mapping(polygon)["coordinates"]
    return {"type": "Polygon", "coordinates": [[[round(x, 2), round(y, 2)] for x, y in ring] for ring in rings]}


def truth_document(truth: SceneTruth) -> dict[str, Any]:
    """The truth as plain JSON; geometries are GeoJSON objects in the CRS of the scene (not longitude/latitude)."""
    return {
        "name": truth.name, "crs": f"EPSG:{truth.crs_epsg}", "transform": list(truth.transform),
        "width": truth.width_px, "height": truth.height_px, "gsd_m": truth.gsd_m,
        "acquired_at": truth.acquired_at.astimezone(UTC).isoformat(),
        "sun": {"elevation_deg": round(truth.sun.elevation_deg, 2), "azimuth_deg": round(truth.sun.azimuth_deg, 2)},
        "shift_m": {"east": truth.shift.east_m, "north": truth.shift.north_m},
        "haze": truth.haze, "cloud_fraction": round(truth.cloud_fraction, 4), "site_ids": list(truth.site_ids),
        "vehicles": [
            {"kind": v.kind, "label": v.label, "length_m": v.length_m, "width_m": v.width_m,
             "heading_deg": v.heading_deg, "site_id": v.site_id, "visible_fraction": round(v.visible_fraction, 3),
             "polygon": _geometry(v.polygon)} for v in truth.vehicles
        ],
        "panels": [
            {"array_id": p.array_id, "site_id": p.site_id, "area_m2": round(p.area_m2, 2),
             "missing_fraction": p.missing_fraction, "soiled_fraction": p.soiled_fraction,
             "polygons": [_geometry(polygon) for polygon in p.polygons]} for p in truth.panels
        ],
        "slots": {
            s.slot_id: {"site_id": s.site_id, "kind": s.kind, "occupied": s.occupied, "goods": s.goods,
                        "visible_fraction": round(s.visible_fraction, 3), "polygon": _geometry(s.polygon)}
            for s in truth.slots
        },
        "stock_cover": {
            s.yard_id: {"site_id": s.site_id, "cover": round(s.cover, 4), "covered_m2": round(s.covered_m2, 1),
                        "polygon": _geometry(s.polygon)}
            for s in truth.stock
        },
        "goods": [
            {"place_id": g.place_id, "site_id": g.site_id, "goods": g.goods, "polygon": _geometry(g.polygon)}
            for g in truth.goods
        ],
        "works": [
            {"work_id": w.work_id, "site_id": w.site_id, "kind": w.kind, "look": w.look, "polygon": _geometry(w.polygon)}
            for w in truth.works
        ],
    }
