"""The words shared by layouts, scene states, the renderer and whoever plans a world.

All geometries are shapely polygons in metres of the site's own UTM zone unless a docstring says otherwise.
`SiteLayout` is what never moves, `SceneState` what is there at one acquisition, `SceneTruth` what was
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shapely.geometry import Polygon

SiteKind = Literal["factory", "solar", "warehouse"]
SlotKind = Literal["parking_bay", "yard_bay"]
GoodsKind = Literal["container", "pallets", "crates", "coils", "big_bags", "timber", "pipes", "vehicle"]
VehicleKind = Literal["car", "van", "minibus", "lorry", "articulated", "flatbed", "bus"]
VehicleLabel = Literal["car", "heavy"]
Surface = Literal["asphalt", "concrete", "gravel"]
Mounting = Literal["ground", "roof"]
RoofKind = Literal["metal_gable", "flat", "sawtooth"]
WorkKind = Literal["roof", "construction"]
WorkLook = Literal["covered", "opened", "building", "frame", "pit"]

GOODS_KINDS: tuple[GoodsKind, ...] = (
    "container", "pallets", "crates", "coils", "big_bags", "timber", "pipes",
)
HEAVY_LENGTH_M = 7.0
"""A vehicle of this length or longer is heavy (design, section 4)."""


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A place in the site's UTM zone."""

    east_m: float
    north_m: float


@dataclass(frozen=True, slots=True)
class MapShift:
    """A displacement on the map, metres to the east and to the north."""

    east_m: float = 0.0
    north_m: float = 0.0


@dataclass(frozen=True, slots=True)
class SunPosition:
    """Where the sun stands: degrees above the horizon, degrees clockwise from north."""

    elevation_deg: float
    azimuth_deg: float


@dataclass(frozen=True, slots=True)
class BuildingShape:
    """A hall or house: footprint, eaves height, kind and colour of its roof."""

    building_id: str
    polygon: Polygon
    height_m: float
    roof: RoofKind
    tone: int
    """Index into the renderer's roof colours."""


@dataclass(frozen=True, slots=True)
class RoadShape:
    """A straight road given by its outline; `marked` ones carry lane lines, `public` ones passing traffic."""

    road_id: str
    start: MapPoint
    end: MapPoint
    width_m: float
    marked: bool
    public: bool


@dataclass(frozen=True, slots=True)
class YardShape:
    """A paved (or gravel) area. `places` are the rectangles stock may stand on, in the order they fill up."""

    yard_id: str
    polygon: Polygon
    surface: Surface
    places: tuple[Polygon, ...] = ()
    goods: GoodsKind = "pallets"

    @property
    def is_stock_yard(self) -> bool:
        """Whether stock cover is defined here."""
        return bool(self.places)


@dataclass(frozen=True, slots=True)
class SlotShape:
    """One marked storage place or parking bay; the polygon's first edge is its short front side."""

    slot_id: str
    kind: SlotKind
    polygon: Polygon
    yard_id: str


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """One PV array: outline of the whole array, its tables (each a rectangle of modules) and its rating."""

    array_id: str
    polygon: Polygon
    tables: tuple[Polygon, ...]
    kwp: float
    mounting: Mounting


@dataclass(frozen=True, slots=True)
class StandShape:
    """A place off the marked bays where vehicles stop: at a dock, in a queue, along a site road."""

    centre: MapPoint
    heading_deg: float
    """Degrees clockwise from north."""
    length_m: float
    use: VehicleLabel


@dataclass(frozen=True, slots=True)
class TreeShape:
    """A tree: crown centre, crown radius and height in metres."""

    centre: MapPoint
    radius_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class SiteLayout:
    """Everything of a site that stays where it is. Made by `layout.make_layout`, deterministic by seed."""

    site_id: str
    kind: SiteKind
    utm_epsg: int
    centre: MapPoint
    rotation_deg: float
    """Direction of the site's local x axis, degrees anticlockwise from east."""
    seed: int
    boundary: Polygon
    buildings: tuple[BuildingShape, ...] = ()
    roads: tuple[RoadShape, ...] = ()
    yards: tuple[YardShape, ...] = ()
    slots: tuple[SlotShape, ...] = ()
    arrays: tuple[ArrayShape, ...] = ()
    stands: tuple[StandShape, ...] = ()
    trees: tuple[TreeShape, ...] = ()

    def slots_of(self, kind: SlotKind) -> tuple[SlotShape, ...]:
        """Slots of one kind in layout order."""
        return tuple(slot for slot in self.slots if slot.kind == kind)

    @property
    def stock_yards(self) -> tuple[YardShape, ...]:
        """Yards that have stock cover."""
        return tuple(yard for yard in self.yards if yard.is_stock_yard)


@dataclass(frozen=True, slots=True)
class WorkShape:
    """Building work that shows from one date on: part of a roof covered anew or opened, a new hall, its frame or its pit."""

    work_id: str
    kind: WorkKind
    polygon: Polygon
    look: WorkLook
    height_m: float
    """Of what stands there."""
    tone: int
    """Index into the renderer's roof colours."""


@dataclass(frozen=True, slots=True)
class ArrayState:
    """How one PV array looks: fractions 0-1 of modules missing and of modules visibly soiled."""

    missing_fraction: float = 0.0
    soiled_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class SceneState:
    """What is at one site at one acquisition, and how it was photographed.

    `occupied` maps yard-bay ids to the goods on them (bays not named are empty); parking bays follow from the
    vehicles placed. `stock_cover` maps ids of stock yards to the wished covered fraction of the yard's area
    (what could be placed is in the truth). Vehicles are placed by `seed`: first in parking bays, the rest on
    the site's own roads and yards; `passing` more drive on the public road outside the boundary.
    """

    acquired_at: datetime
    gsd_m: float = 0.3
    cars: int = 0
    heavy: int = 0
    passing: int = 3
    occupied: Mapping[str, GoodsKind] = field(default_factory=dict)
    stock_cover: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, ArrayState] = field(default_factory=dict)
    works: tuple[WorkShape, ...] = ()
    """Building work as it stands on this date."""
    sun: SunPosition | None = None
    """None: computed from place and time."""
    haze: float = 0.1
    """0 clear air, 1 nothing visible."""
    cloud_cover: float = 0.0
    """Wished fraction of the picture under cloud, 0-1."""
    overcast: bool = False
    """High thin cloud: soft light, nearly no shadows."""
    shift: MapShift = MapShift()
    """Misregistration: the written georeferencing is displaced by this much."""
    seed: int = 0
    air_seed: int | None = None
    """Cloud, lens, sensor and noise; None: by `seed`. Two dates with the same `seed` show the same vehicles and goods."""
    source: str = "rendered"
    available_at: datetime | None = None
    """When the scene reached the customer (tag AVAILABLE_AT); None: at once."""


@dataclass(frozen=True, slots=True)
class VehicleTruth:
    """One rendered vehicle. The polygon is in map coordinates of the written file (shift included)."""

    kind: VehicleKind
    label: VehicleLabel
    length_m: float
    width_m: float
    heading_deg: float
    """Direction of travel, degrees clockwise from north."""
    polygon: Polygon
    site_id: str | None
    """Site whose boundary contains it, None on the road outside."""
    visible_fraction: float
    """1 minus the part under cloud or outside the picture."""


@dataclass(frozen=True, slots=True)
class PanelTruth:
    """One PV array as rendered. Polygons (file coordinates) outline the modules that are present."""

    array_id: str
    site_id: str
    polygons: tuple[Polygon, ...]
    area_m2: float
    missing_fraction: float
    soiled_fraction: float


@dataclass(frozen=True, slots=True)
class SlotTruth:
    """One slot as rendered (file coordinates)."""

    slot_id: str
    site_id: str
    kind: SlotKind
    occupied: bool
    goods: str | None
    visible_fraction: float
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class StockTruth:
    """One stock yard as rendered: covered fraction of its area (polygon in file coordinates)."""

    yard_id: str
    site_id: str
    cover: float
    covered_m2: float
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class GoodsTruth:
    """Goods as they stand on one slot or one block of a stock yard (polygon of their outer rectangle, file coordinates)."""

    place_id: str
    """Slot, or yard with the number of the block."""
    site_id: str
    goods: str
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class WorkTruth:
    """Building work as rendered (file coordinates)."""

    work_id: str
    site_id: str
    kind: WorkKind
    look: WorkLook
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """All that is true of one written scene; `NAME.truth.json` holds the same."""

    name: str
    crs_epsg: int
    transform: tuple[float, float, float, float, float, float]
    """Affine coefficients a, b, c, d, e, f of the written file: east = a col + b row + c."""
    width_px: int
    height_px: int
    gsd_m: float
    acquired_at: datetime
    sun: SunPosition
    shift: MapShift
    haze: float
    cloud_fraction: float
    vehicles: tuple[VehicleTruth, ...]
    panels: tuple[PanelTruth, ...]
    slots: tuple[SlotTruth, ...]
    stock: tuple[StockTruth, ...]
    site_ids: tuple[str, ...]
    goods: tuple[GoodsTruth, ...] = ()
    works: tuple[WorkTruth, ...] = ()
