"""The part of a site that never changes: ground, roads, markings, wear, buildings and trees.

Painted once per site, seeded by the site, so that every date shows the same stains and cracks.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from shapely.geometry import Polygon

from data_samples.render_canvas import Canvas, FloatArray, Grid, noise, speckle
from data_samples.scene_model import BuildingShape, MapPoint, RoadShape, SiteLayout, SlotShape, TreeShape, YardShape

Colour = tuple[float, float, float]
ROOF_COLOURS: tuple[Colour, ...] = (
    (178, 182, 184), (72, 104, 152), (206, 206, 202), (148, 98, 84), (128, 134, 138), (142, 158, 150),
)
PAINT: Colour = (214, 214, 206)


def paint_site(grid: Grid, layouts: tuple[SiteLayout, ...]) -> Canvas:
    """Canvas with everything static of some sites on one grid."""
    seed = [layout.seed for layout in layouts] + list(layouts[0].site_id.encode())
    rng = np.random.default_rng(seed)
    canvas = _meadow(grid, rng)
    for layout in layouts:
        _paint_layout(canvas, layout, rng)
    return canvas


def _paint_layout(canvas: Canvas, layout: SiteLayout, rng: np.random.Generator) -> None:
    for road in layout.roads:
        if road.public:
            _road(canvas, road, rng)
    for yard in layout.yards:
        _yard(canvas, yard, layout.rotation_deg, rng)
    for road in layout.roads:
        if not road.public:
            _road(canvas, road, rng)
    for slot in layout.slots:
        _bay_lines(canvas, slot, rng)
    _wear(canvas, layout, rng)
    for building in layout.buildings:
        _building(canvas, building, rng)
    _fence(canvas, layout)
    for tree in layout.trees:
        if not any(road.public and _near(road, tree.centre) for road in layout.roads):
            _tree(canvas, tree, rng)


def _near(road: RoadShape, point: MapPoint) -> bool:
    dx, dy = road.end.east_m - road.start.east_m, road.end.north_m - road.start.north_m
    across = dx * (point.north_m - road.start.north_m) - dy * (point.east_m - road.start.east_m)
    return abs(across) / math.hypot(dx, dy) < road.width_m / 2 + 1.0


def _px(canvas: Canvas, metres: float) -> int:
    return max(round(metres / canvas.grid.gsd_m), 1)


def _meadow(grid: Grid, rng: np.random.Generator) -> Canvas:
    greens: tuple[Colour, ...] = ((88, 102, 68), (104, 108, 76), (120, 112, 84), (82, 94, 66))
    canvas = Canvas.blank(grid, greens[int(rng.integers(len(greens)))])
    shape = canvas.height.shape
    scales = tuple(_px(canvas, metres) for metres in (0.15, 0.6, 2.5, 12.0))
    mottle = speckle(shape, rng, scales, (5.0, 4.0, 5.0, 7.0))
    soil = np.clip(noise(shape, scales[3], rng) - 0.9, 0, 1)[..., None]
    canvas.rgb += mottle[..., None] * np.array([1.0, 0.95, 0.8], np.float32)
    canvas.rgb += soil * (np.array([148, 128, 102], np.float32) - canvas.rgb) * 0.8
    return canvas


def _surface(shape: tuple[int, int], canvas: Canvas, kind: str, rng: np.random.Generator) -> FloatArray:
    """Texture of a paved area, (rows, columns, 3)."""
    bases: dict[str, Colour] = {
        "asphalt": (112, 113, 114), "concrete": (158, 155, 148), "gravel": (146, 134, 116), "road": (106, 107, 109),
    }
    base = np.asarray(bases[kind], np.float32) + np.float32(rng.normal(0, 9))
    scales = tuple(_px(canvas, metres) for metres in (0.15, 0.5, 2.0, 9.0))
    weights = {"asphalt": (2.2, 1.4, 2.2, 4.0), "concrete": (1.8, 1.5, 2.6, 4.5), "gravel": (7.0, 5.0, 4.0, 6.0),
               "road": (2.0, 1.2, 1.8, 2.5)}[kind]
    rough = speckle(shape, rng, scales, weights)
    stains = np.clip(noise(shape, _px(canvas, 1.2), rng) + 0.5 * noise(shape, scales[3], rng) - 1.7, 0, 1.2)
    spots = rough - np.float32(11.0) * stains
    return np.asarray(base + spots[..., None] * np.array([1.0, 1.0, 0.97], np.float32), np.float32)


def _yard(canvas: Canvas, yard: YardShape, rotation_deg: float, rng: np.random.Generator) -> None:
    found = canvas.mask(yard.polygon)
    if found is None:
        return
    rows, cols, coverage = found
    canvas.paint(rows, cols, coverage, _surface(coverage.shape, canvas, yard.surface, rng))
    corners = list(yard.polygon.exterior.coords)
    if yard.surface == "concrete":
        _joints(canvas, corners, float(rng.choice([4.0, 5.0, 6.0])), rng)
    if yard.surface != "gravel":
        _patches(canvas, yard.polygon, rotation_deg, rng)
        for start, end in pairwise(corners):
            canvas.line(MapPoint(*start[:2]), MapPoint(*end[:2]), 0.25, (166, 164, 158), 0.8)


def _joints(canvas: Canvas, corners: list[tuple[float, ...]], pitch: float, rng: np.random.Generator) -> None:
    """Joints between concrete slabs, parallel to the two edges at the first corner."""
    origin, along, up = np.array(corners[0][:2]), np.array(corners[1][:2]), np.array(corners[3][:2])
    for first, second in ((along, up), (up, along)):
        reach = float(np.linalg.norm(first - origin))
        step = (first - origin) / reach
        for distance in np.arange(pitch, reach, pitch):
            start = origin + step * distance
            end = start + (second - origin)
            canvas.line(MapPoint(*start), MapPoint(*end), 0.06, (96, 94, 90), float(rng.uniform(0.25, 0.6)))


def _rectangle(centre: tuple[float, float], length: float, width: float, angle_deg: float) -> Polygon:
    angle = math.radians(angle_deg)
    ax, ay = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    bx, by = -math.sin(angle) * width / 2, math.cos(angle) * width / 2
    x, y = centre
    return Polygon([(x - ax - bx, y - ay - by), (x + ax - bx, y + ay - by), (x + ax + bx, y + ay + by),
                    (x - ax + bx, y - ay + by)])


def _somewhere(polygon: Polygon, rng: np.random.Generator) -> tuple[float, float]:
    west, south, east, north = polygon.bounds
    return float(rng.uniform(west, east)), float(rng.uniform(south, north))


def _patches(canvas: Canvas, polygon: Polygon, rotation_deg: float, rng: np.random.Generator) -> None:
    """Repairs, slabs and covers lying flat in the ground: things a detector must not take for objects."""
    for _ in range(min(int(polygon.area / 500) + 1, 14)):
        tone = float(rng.uniform(-26, 22))
        length, width = float(rng.uniform(1.5, 7.0)), float(rng.uniform(1.0, 3.0))
        found = canvas.mask(_rectangle(_somewhere(polygon, rng), length, width, rotation_deg))
        if found is not None:
            rows, cols, coverage = found
            canvas.rgb[rows, cols] += coverage[..., None] * np.float32(tone)
    for _ in range(min(int(polygon.area / 700) + 1, 10)):
        x, y = _somewhere(polygon, rng)
        found = canvas.mask(Polygon([(x + 0.4 * math.cos(a), y + 0.4 * math.sin(a)) for a in np.linspace(0, 6, 12)]))
        if found is not None:
            rows, cols, coverage = found
            canvas.paint(rows, cols, coverage * 0.7, (74, 74, 74))


def _road(canvas: Canvas, road: RoadShape, rng: np.random.Generator) -> None:
    dx, dy = road.end.east_m - road.start.east_m, road.end.north_m - road.start.north_m
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length

    def at(along: float, across: float) -> MapPoint:
        return MapPoint(road.start.east_m + ux * along - uy * across, road.start.north_m + uy * along + ux * across)

    half = road.width_m / 2
    edge = [at(0, half), at(length, half), at(length, -half), at(0, -half)]
    found = canvas.mask(Polygon([(p.east_m, p.north_m) for p in edge]))
    if found is None:
        return
    rows, cols, coverage = found
    canvas.paint(rows, cols, coverage, _surface(coverage.shape, canvas, "road", rng))
    for lane in (-half / 2, half / 2):
        for wheel in (-0.85, 0.85):
            canvas.line(at(0, lane + wheel), at(length, lane + wheel), 0.55, (84, 84, 86), 0.22)
    if road.public:
        for side in (-1, 1):
            walk = [at(0, side * half), at(length, side * half), at(length, side * (half + 2)), at(0, side * (half + 2))]
            found = canvas.mask(Polygon([(p.east_m, p.north_m) for p in walk]))
            if found is not None:
                rows, cols, coverage = found
                canvas.paint(rows, cols, coverage, _surface(coverage.shape, canvas, "concrete", rng))
            canvas.line(at(0, side * half), at(length, side * half), 0.2, (178, 176, 170), 0.9)
            canvas.line(at(0, side * (half - 0.35)), at(length, side * (half - 0.35)), 0.13, PAINT, 0.7)
    if road.marked:
        for along in np.arange(0.0, length, 9.0):
            canvas.line(at(float(along), 0), at(float(along) + 4.0, 0), 0.15, PAINT, 0.8)


def _bay_lines(canvas: Canvas, slot: SlotShape, rng: np.random.Generator) -> None:
    front_a, front_b, back_b, back_a = (MapPoint(*xy[:2]) for xy in list(slot.polygon.exterior.coords)[:4])
    faded = float(rng.uniform(0.45, 0.85))
    paint = PAINT if slot.kind == "parking_bay" else ((206, 178, 74) if hash_parity(slot.yard_id) else PAINT)
    for start, end in ((front_a, back_a), (front_b, back_b), (back_a, back_b)):
        canvas.line(start, end, 0.12, paint, faded)
    if slot.kind == "yard_bay":
        canvas.line(front_a, front_b, 0.12, paint, faded * 0.7)
    found = canvas.mask(slot.polygon)
    if found is not None and rng.random() < 0.6:
        rows, cols, coverage = found
        blot = np.clip(noise(coverage.shape, _px(canvas, 0.5), rng) - 0.9, 0, 1)
        canvas.rgb[rows, cols] -= (coverage * blot * float(rng.uniform(6, 26)))[..., None]


def hash_parity(text: str) -> bool:
    """A stable coin for a name (str hashes differ between processes)."""
    return sum(text.encode()) % 2 == 0


def _wear(canvas: Canvas, layout: SiteLayout, rng: np.random.Generator) -> None:
    """Tyre tracks and cracks."""
    cx, cy = layout.centre.east_m, layout.centre.north_m
    for _ in range(10):
        x, y = cx + float(rng.uniform(-70, 70)), cy + float(rng.uniform(-70, 70))
        heading = math.radians(layout.rotation_deg + float(rng.choice([0, 90])) + float(rng.normal(0, 8)))
        turn = float(rng.normal(0, 0.012))
        dark = float(rng.uniform(0.08, 0.25))
        for _ in range(int(rng.integers(6, 16))):
            nx, ny = x + 3 * math.cos(heading), y + 3 * math.sin(heading)
            for side in (-0.9, 0.9):
                ox, oy = -math.sin(heading) * side, math.cos(heading) * side
                canvas.line(MapPoint(x + ox, y + oy), MapPoint(nx + ox, ny + oy), 0.3, (62, 62, 64), dark)
            x, y, heading = nx, ny, heading + turn * 3
    for _ in range(25):
        x, y = cx + float(rng.uniform(-75, 75)), cy + float(rng.uniform(-75, 75))
        heading = float(rng.uniform(0, 6.3))
        for _ in range(int(rng.integers(4, 14))):
            heading += float(rng.normal(0, 0.5))
            nx, ny = x + math.cos(heading), y + math.sin(heading)
            canvas.line(MapPoint(x, y), MapPoint(nx, ny), 0.05, (58, 58, 58), 0.6)
            x, y = nx, ny


def _building(canvas: Canvas, building: BuildingShape, rng: np.random.Generator) -> None:
    found = canvas.mask(building.polygon)
    if found is None:
        return
    rows, cols, coverage = found
    p0, p1, _, p3 = (np.array(xy[:2]) for xy in list(building.polygon.exterior.coords)[:4])
    length, depth = float(np.linalg.norm(p1 - p0)), float(np.linalg.norm(p3 - p0))
    grid = canvas.grid
    col = np.arange(cols.start, cols.stop, dtype=np.float32)[None, :]
    row = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    east = grid.west_m + (col + 0.5) * grid.gsd_m - p0[0]
    north = grid.north_m - (row + 0.5) * grid.gsd_m - p0[1]
    u = (east * (p1 - p0)[0] + north * (p1 - p0)[1]) / length
    v = (east * (p3 - p0)[0] + north * (p3 - p0)[1]) / depth
    colour = np.asarray(ROOF_COLOURS[building.tone], np.float32) + float(rng.normal(0, 6))
    roof = np.broadcast_to(colour, (*coverage.shape, 3)).copy()
    fine, broad = (noise(coverage.shape, _px(canvas, metres), rng) for metres in (0.3, 6.0))
    roof += (2.5 * fine + 4.0 * broad)[..., None]
    height = np.full(coverage.shape, building.height_m, np.float32)
    if building.roof == "flat":
        rim = np.minimum(np.minimum(u, length - u), np.minimum(v, depth - v)) < 0.5
        height[rim] += 0.8
        roof[rim] += 18
    elif building.roof == "metal_gable":
        spans = max(round(depth / 24), 1)
        span = depth / spans
        height += 0.10 * (span / 2 - np.abs(np.mod(v, span) - span / 2))
        roof += (4.0 * np.sin(2 * np.pi * u / 0.9))[..., None]
        skylight = (np.mod(u + 2.0, 9.0) < 1.0) & (np.mod(v, span) > 2.0) & (np.mod(v, span) < span - 2.0)
        if rng.random() < 0.7:
            roof[skylight] = roof[skylight] * 0.35 + np.array([205, 210, 205], np.float32) * 0.65
        roof[np.abs(np.mod(v, span) - span / 2) < 0.35] += 14
    else:
        tooth = np.mod(u, 7.5)
        height += 0.28 * tooth
        glass = tooth > 6.6
        roof[glass] = np.array([88, 100, 108], np.float32)
    dirt = np.clip(noise(coverage.shape, _px(canvas, 2.5), rng) - 1.0, 0, 2)
    roof -= (8.0 * dirt)[..., None]
    canvas.paint(rows, cols, coverage, roof)
    region = canvas.height[rows, cols]
    np.maximum(region, height * (coverage > 0.5), out=region)
    _vents(canvas, building, rng)


def _vents(canvas: Canvas, building: BuildingShape, rng: np.random.Generator) -> None:
    count = int(rng.integers(3, 9)) if building.roof != "sawtooth" else 0
    inner = building.polygon.buffer(-3.0)
    if inner.is_empty:
        return
    corners = list(building.polygon.exterior.coords)
    angle = math.degrees(math.atan2(corners[1][1] - corners[0][1], corners[1][0] - corners[0][0]))
    for _ in range(count):
        x, y = _somewhere(inner, rng)
        box = _rectangle((x, y), float(rng.uniform(0.6, 1.5)), float(rng.uniform(0.6, 1.1)), angle)
        if not inner.contains(box):
            continue
        found = canvas.mask(box)
        if found is not None:
            rows, cols, coverage = found
            canvas.paint(rows, cols, coverage, (float(rng.uniform(110, 205)),) * 3)
            canvas.height[rows, cols] += coverage * 0.9


def _fence(canvas: Canvas, layout: SiteLayout) -> None:
    corners = list(layout.boundary.exterior.coords)
    for number, (start, end) in enumerate(pairwise(corners)):
        if number > 0:
            canvas.line(MapPoint(*start[:2]), MapPoint(*end[:2]), 0.25, (150, 146, 138), 0.8)


def _tree(canvas: Canvas, tree: TreeShape, rng: np.random.Generator) -> None:
    """A crown of lumps: uneven outline, height that catches light and throws shade."""
    col, row = canvas.grid.pixels([(tree.centre.east_m, tree.centre.north_m)])[0]
    radius = tree.radius_m / canvas.grid.gsd_m
    reach = int(radius * 1.4) + 2
    size = 2 * reach + 1
    col0, row0 = round(col) - reach, round(row) - reach
    if col0 < 0 or row0 < 0 or col0 + size > canvas.grid.width_px or row0 + size > canvas.grid.height_px:
        return
    yy, xx = np.mgrid[-reach:reach + 1, -reach:reach + 1].astype(np.float32) / np.float32(radius)
    lumps = noise((size, size), _px(canvas, 0.9), rng)
    fine = noise((size, size), _px(canvas, 0.3), rng)
    distance = np.hypot(xx, yy) + 0.13 * lumps
    coverage = np.clip((1.0 - distance) * radius * 0.7, 0, 1)
    coverage *= np.clip(0.85 + 0.3 * fine, 0.3, 1.0)
    height = tree.height_m * np.sqrt(np.clip(1.1 - distance**2, 0, 1)) * (1.0 + 0.07 * lumps + 0.03 * fine)
    greens: tuple[Colour, ...] = ((58, 80, 44), (70, 88, 50), (48, 68, 44), (86, 92, 58))
    colour = np.asarray(greens[int(rng.integers(len(greens)))], np.float32)
    shade = np.clip(1.0 + 0.13 * lumps + 0.12 * fine, 0.5, 1.5)[..., None]
    rows, cols = slice(row0, row0 + size), slice(col0, col0 + size)
    canvas.paint(rows, cols, cv2.GaussianBlur(coverage, (0, 0), 0.6), colour * shade)
    region = canvas.height[rows, cols]
    np.maximum(region, height * (coverage > 0.4), out=region)
