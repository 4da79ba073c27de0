"""A sample world: planned from a seed, written as a folder (layout in WORLD.md), and planned again from that folder."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from collateral.domain import LonLat, Portfolio, SiteKind
from collateral.errors import InvalidInputError
from collateral.progress import progress
from data_samples.calendar import DayKind
from data_samples.clock import STEP_S, Clock, make_clock, stream
from data_samples.companies import COMMODITIES, COMPANIES, PLACES, Place
from data_samples.inventory import Inventory, SitePlan, take_inventory
from data_samples.layout import make_layout
from data_samples.operations import SiteTruth, dead_asset, operate
from data_samples.portfolio_files import build_portfolio, second_pledge_id, write_portfolio_files
from data_samples.storylines import LOCAL, TIME_ZONE, Cast, Storyline, cast_sites
from data_samples.telemetry import DeviceSeries, site_series, write_npz
from data_samples.weather import make_weather
from data_samples.yards import occupied_bays

FORMAT_VERSION = 1
_LETTERS = {SiteKind.FACTORY: "F", SiteKind.SOLAR: "S", SiteKind.WAREHOUSE: "W"}


@dataclass(frozen=True)
class WorldConfig:
    """Everything a world depends on."""

    seed: int
    end: datetime
    """Last moment of the world, UTC, a whole half hour."""
    sites: int = 24
    years: float = 1.0
    strength: float = 1.0
    """Scales the storylines; 1 is the usual, 0 leaves only their sensor parts."""


def make_config(seed: int, end: datetime | None, sites: int, years: float, strength: float) -> WorldConfig:
    """Checks the wishes of the command line.

    Raises:
        InvalidInputError: a number is out of range, or `end` has no time zone.
    """
    if not 1 <= sites <= 300:
        raise InvalidInputError(f"{sites} sites cannot be made; ask for 1 to 300 (24 for all storylines).")
    if not 0.2 <= years <= 5:
        raise InvalidInputError(f"{years} years cannot be made; ask for 0.2 to 5.")
    if not 0 <= strength <= 1.5:
        raise InvalidInputError(f"Strength {strength} is out of range; use 0 to 1.5, 1 being the usual.")
    if seed < 0:
        raise InvalidInputError(f"Seed {seed} is negative; use 0 or more.")
    moment = end or datetime.now(UTC)
    if moment.tzinfo is None:
        raise InvalidInputError(f"End {moment.isoformat()} has no time zone; add Z or an offset.")
    whole = int(moment.timestamp()) // STEP_S * STEP_S
    return WorldConfig(seed, datetime.fromtimestamp(whole, UTC), sites, years, strength)


@dataclass(frozen=True)
class World:
    """A planned world; the truth of a site is made when asked for."""

    config: WorldConfig
    clock: Clock
    plans: tuple[SitePlan, ...]
    things: Mapping[str, Inventory]
    storylines: tuple[Storyline, ...]

    @property
    def end_ms(self) -> int:
        """The world's end, epoch milliseconds."""
        return int(self.config.end.timestamp()) * 1000

    @cached_property
    def portfolio(self) -> Portfolio:
        """What the bank would hand over."""
        return build_portfolio(self.plans, self.things, self.clock, self.config.seed, self.config.strength)

    def plan(self, site_id: str) -> SitePlan:
        """The plan of one site."""
        for plan in self.plans:
            if plan.site_id == site_id:
                return plan
        raise InvalidInputError(f"Site {site_id!r} is not in this world; it has {', '.join(p.site_id for p in self.plans)}.")

    def truth(self, plan: SitePlan) -> SiteTruth:
        """What really happens at a site, horizon after the world's end included."""
        seed = self.config.seed
        weather = make_weather(self.clock, seed, plan.place.name, plan.place.at)
        return operate(plan, self.things[plan.site_id], weather, self.clock, seed, self.config.strength)

    def series(self, plan: SitePlan, truth: SiteTruth) -> list[DeviceSeries]:
        """Messages of a site's devices, horizon included."""
        return site_series(plan, self.things[plan.site_id], truth, self.clock, self.config.seed)


def plan_world(config: WorldConfig) -> World:
    """Who, where and what; fast, and the same for the same config."""
    clock = make_clock(config.end, config.years)
    casts = cast_sites(config.sites, config.end, stream(config.seed, "casts"))
    plans = _plan_sites(config, casts)
    things = {plan.site_id: take_inventory(plan, config.seed) for plan in plans}
    stories = tuple(_story(plan, plans, things[plan.site_id]) for plan in plans if plan.cast.storyline is not None)
    ordered = tuple(sorted(plans, key=lambda plan: plan.site_id))
    return World(config, clock, ordered, things, stories)


def _plan_sites(config: WorldConfig, casts: list[Cast]) -> list[SitePlan]:
    """Plans in the order of the casts; ids are dealt out by chance, so that they do not tell the storyline."""
    rng = stream(config.seed, "places")
    numbers = {kind: iter(rng.permutation(sum(cast.kind == kind for cast in casts)) + 1) for kind in SiteKind}
    position = dict.fromkeys(SiteKind, 0)
    habits_place: dict[str, Place] = {}
    taken: list[LonLat] = []
    plans: list[SitePlan] = []
    twins_with_truck = {cast.twin for cast in casts if cast.storyline and cast.storyline.name == "truck_off_route"}
    for index, cast in enumerate(casts):
        site_id = f"{_LETTERS[cast.kind]}{int(next(numbers[cast.kind])):02d}"
        place = habits_place.setdefault(cast.habits, PLACES[int(rng.integers(len(PLACES)))])
        at = _free_spot(place, taken, rng)
        taken.append(at)
        number = position[cast.kind]
        position[cast.kind] += 1
        companies = [company for company in COMPANIES if company.kind == cast.kind]
        company = companies[(number + number // len(companies)) % len(companies)]
        layout = make_layout(site_id, cast.kind.value, at.lon, at.lat, config.seed)
        name = cast.storyline.name if cast.storyline else ""
        truck = name == "truck_off_route" or index in twins_with_truck or (not name and rng.random() < 0.4)
        plans.append(SitePlan(site_id, cast, company, place, at, layout, truck, _main_commodity(cast, name, rng)))
    return plans


def _main_commodity(cast: Cast, story: str, rng: np.random.Generator) -> str:
    """The first commodity belongs to the covenant breach alone, since its price will fall."""
    choice = int(rng.integers(1, len(COMMODITIES)))
    if cast.kind != SiteKind.WAREHOUSE:
        return ""
    return COMMODITIES[0 if story == "covenant_breach" else choice].key


def _free_spot(place: Place, taken: list[LonLat], rng: np.random.Generator) -> LonLat:
    """A spot 3 to 12 km from the town, more than a kilometre from every other site."""
    for _ in range(200):
        angle, distance_km = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(3, 12))
        lat = place.at.lat + distance_km * math.sin(angle) / 111.2
        lon = place.at.lon + distance_km * math.cos(angle) / (111.2 * math.cos(math.radians(lat)))
        if all(abs(lat - other.lat) > 0.009 or abs(lon - other.lon) > 0.011 for other in taken):
            return LonLat(round(lon, 6), round(lat, 6))
    raise InvalidInputError(f"No free spot near {place.name_en} after {len(taken)} sites; ask for fewer sites.")


def _story(plan: SitePlan, plans: list[SitePlan], things: Inventory) -> Storyline:
    story, onset, twin = plan.cast.storyline, plan.cast.onset, plan.cast.twin
    assert story is not None
    assert onset is not None
    subject = plan.site_id
    if story.name == "inverter_dead":
        subject = dead_asset(things)
    elif story.name == "truck_off_route":
        subject = things.trucks[0].asset_id
    elif story.name == "double_pledge":
        subject = second_pledge_id(things)
    twin_id = plans[twin].site_id if twin is not None else ""
    return Storyline(story.name, story.rule, plan.site_id, subject, onset, story.within_days, twin_id)


@dataclass(frozen=True)
class WriteReport:
    """What `write_world` did."""

    sites: int
    devices: int
    readings: int
    seconds: float


def write_world(world: World, folder: Path) -> WriteReport:
    """Writes everything but the scenes into `folder`; scenes follow by `scenes.write_scenes`.

    Raises:
        InvalidInputError: the folder cannot be made.
    """
    started = time.monotonic()
    try:
        for name in ("portfolio", "telemetry", "truth", "scenes"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written ({error.strerror}); name a folder of your own.") from error
    _write_json(folder / "world.json", describe(world))
    until = world.config.end.astimezone(LOCAL).date()
    write_portfolio_files(world.portfolio, folder / "portfolio", until)
    readings = 0
    with (folder / "truth" / "site_days.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("site_id", "date", "day_kind", "activity", "cars", "heavy", "stock_cover", "occupied_bays",
                         "stock_t", "soiling", "irradiation_kwh_m2"))
        for plan in progress(world.plans, "telemetry", unit="site"):
            truth = world.truth(plan)
            writer.writerows(_day_rows(world, plan, truth))
            series = [item.between(0, world.end_ms) for item in world.series(plan, truth)]
            readings += write_npz(folder / "telemetry" / f"{plan.site_id}.npz", series)
    stories = [asdict(story) | {"site": story.site_id, "onset": story.onset} for story in world.storylines]
    _write_json(folder / "truth" / "storylines.json", stories)
    devices = sum(len(things.devices) for things in world.things.values())
    return WriteReport(len(world.plans), devices, readings, time.monotonic() - started)


def _day_rows(world: World, plan: SitePlan, truth: SiteTruth) -> list[tuple[object, ...]]:
    things, clock = world.things[plan.site_id], world.clock
    solar = plan.cast.kind == SiteKind.SOLAR
    kinds = clock.kinds()
    rows: list[tuple[object, ...]] = []
    for day in range(clock.day_index(world.config.end) + 1):
        stock = sum(lot.quantity_t * float(truth.levels[lot.asset_id][day]) for lot in things.lots)
        rows.append((
            plan.site_id, clock.day(day).isoformat(), DayKind(int(kinds[day])).name.lower(),
            round(float(truth.activity[day]), 4), int(truth.cars[day]), int(truth.heavy[day]),
            round(float(truth.stock_cover[day]), 3),
            len(occupied_bays(plan, things, truth, day, world.config.seed)) if things.lots else 0,
            round(stock, 1), round(float(truth.soiling[day]), 4) if solar else "",
            round(float(truth.irradiation[day]), 3) if solar else "",
        ))
    return rows


def describe(world: World) -> dict[str, object]:
    """The content of world.json."""
    config = world.config
    return {
        "format": FORMAT_VERSION, "seed": config.seed, "start": world.clock.start, "end": config.end,
        "years": config.years, "strength": config.strength, "sites": config.sites, "time_zone": TIME_ZONE,
        "interval_s": STEP_S,
        "site_list": [
            {"site_id": plan.site_id, "kind": plan.cast.kind.value, "lon": plan.at.lon, "lat": plan.at.lat,
             "place": plan.place.name_en, "borrower_id": plan.company.borrower_id}
            for plan in world.plans
        ],
    }


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: object) -> str:
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_config(folder: Path) -> WorldConfig:
    """The config of the world in a folder.

    Raises:
        InvalidInputError: the folder has no readable world.json of this format.
    """
    path = folder / "world.json"
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        if head["format"] != FORMAT_VERSION:
            raise InvalidInputError(f"{path} has format {head['format']}, not {FORMAT_VERSION}; write the world anew.")
        return WorldConfig(int(head["seed"]), datetime.fromisoformat(head["end"]), int(head["sites"]),
                           float(head["years"]), float(head["strength"]))
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInputError(f"{path} is not a world ({error}); write one with `collateral sample write`.") from error


def load_world(folder: Path) -> World:
    """Plans the world of a folder again from its world.json.

    Raises:
        InvalidInputError: as `read_config`.
    """
    return plan_world(read_config(folder))


def config_for(folder: Path, wished: WorldConfig, end_given: bool) -> WorldConfig:
    """What to write into `folder`: the wished world, or the rest of the same one when it is there already.

    Without a given end, a world of the same seed and size that ended less than a day ago is completed.

    Raises:
        InvalidInputError: the folder holds another world.
    """
    if not (folder / "world.json").exists():
        return wished
    there = read_config(folder)
    recent = abs((wished.end - there.end).total_seconds()) < 86_400
    if there == wished or (not end_given and recent and replace(wished, end=there.end) == there):
        return there
    raise InvalidInputError(
        f"{folder} holds the world of seed {there.seed} that ends {there.end.isoformat()}; "
        "choose another folder, remove this one, or ask for the same world."
    )
