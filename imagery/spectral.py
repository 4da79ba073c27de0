"""Which bands a satellite's GeoTIFF holds, and how its numbers become reflectances. A leaf.

Bands are told by their descriptions or by the tag BANDS (comma separated, one name per band): `B02 B03 B04 B08 B11 B12`
(Sentinel-2; B8A where there is no B08), `SR_B2 ... SR_B7` (Landsat 8 and 9), or `blue green red nir swir16 swir22`.
Reflectance = number x scale + offset, read in this order from the bands' own scale and offset, the tags REFLECTANCE_SCALE
and REFLECTANCE_OFFSET, the tag PROCESSING_BASELINE (Sentinel-2: 0.1 is subtracted from 04.00 on; `N0509` is 05.09), else
the sensor's custom: Landsat's (collection 2) where the bands or a tag name it, Sentinel-2's otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NEEDED = ("blue", "green", "red", "nir")
HELPFUL = ("swir16", "swir22")
COARSE_M = 5.0
"""From this pixel on a picture is too coarse for every detector here, and its sky is judged by its bands."""
COARSEST_M = 62.0
TYPES = ("uint16", "int16", "uint32", "int32", "float32", "float64")
HOW = (
    "name the bands (descriptions, or the tag BANDS=B02,B03,B04,B08,B11,B12; blue, green, red and nir are needed) "
    "and write reflectances as uint16 x 10,000 or as float32"
)

_SENTINEL2 = {"2": "blue", "3": "green", "4": "red", "8": "nir", "8A": "nir", "11": "swir16", "12": "swir22"}
_LANDSAT8 = {"2": "blue", "3": "green", "4": "red", "5": "nir", "6": "swir16", "7": "swir22"}
_COLOURS = {
    "blue": "blue", "green": "green", "red": "red", "nir": "nir", "nir08": "nir",
    "swir16": "swir16", "swir1": "swir16", "swir22": "swir22", "swir2": "swir22",
}  # fmt: skip
_NUMBERED = re.compile(r"^(SR_)?B0?(\d{1,2}A?)(?![0-9A-Z])", re.IGNORECASE)
_LANDSAT_SCALING = (2.75e-5, -0.2)
_LANDSAT_L1_SCALING = (2e-5, -0.1)
"""Without the angle of the sun, and so not quite a reflectance."""
_SENTINEL2_SCALING = (1e-4, 0.0)
_SENTINEL2_OFFSET = -0.1
_OFFSET_SINCE = 4.0
"""Processing baseline."""
_LEVEL_TAGS = ("PRODUCT_LEVEL", "PROCESSING_LEVEL", "PRODUCT_TYPE", "PRODUCT_ID")
_PLATFORM_TAGS = ("PLATFORM", "SPACECRAFT_ID", "SENSOR", "SOURCE")


@dataclass(frozen=True)
class Spectral:
    """The bands of a scene and what their numbers mean."""

    bands: Mapping[str, int]
    """Number (from 1) by name: all of `NEEDED`, of `HELPFUL` both or neither."""
    scale: float
    offset: float
    """Reflectance = number x scale + offset."""
    scaling_stated: bool
    """False when it is the sensor's custom."""
    level: str
    """`l1c` (top of the atmosphere) or `l2a` (surface)."""
    level_stated: bool


def spectral_of(dataset: Any) -> Spectral | None:
    """What an open rasterio dataset says; None when it is no scene of named bands.

    Bands of one file whose scales differ, or whose scale cannot be one, are not read either.
    """
    if dataset.count < len(NEEDED) or not set(dataset.dtypes) <= set(TYPES):
        return None
    tags = {str(key).upper(): str(value) for key, value in dataset.tags().items()}
    bands, landsat, surface = _bands(band_names(dataset), tags)
    if not all(name in bands for name in NEEDED):
        return None
    if not all(name in bands for name in HELPFUL):
        bands = {name: bands[name] for name in NEEDED}
    level = _level(tags)
    usual = None if not landsat else _LANDSAT_L1_SCALING if level == "l1c" else _LANDSAT_SCALING
    scaling = _scaling(dataset, list(bands.values()), tags, usual, surface)
    if scaling is None or not (0 < scaling[0] <= 1 and abs(scaling[1]) <= 1):
        return None
    return Spectral(bands, *scaling, level or "l2a", bool(level) or surface)


def band_names(dataset: Any) -> list[str]:
    """One name per band of an open rasterio dataset, by its descriptions, else its tag BANDS; empty where unsaid."""
    names = [name or "" for name in dataset.descriptions]
    if not any(names):
        said = {str(key).upper(): str(value) for key, value in dataset.tags().items()}.get("BANDS", "").split(",")
        names = [name.strip() for name in (*said, *names)][: dataset.count]
    return names


def _bands(names: Sequence[str], tags: Mapping[str, str]) -> tuple[dict[str, int], bool, bool]:
    """Number by colour, whether they are Landsat's, and whether their names say surface reflectance."""
    platform = " ".join(tags.get(key, "") for key in _PLATFORM_TAGS).lower()
    found = [match for name in names if (match := _NUMBERED.match(name.strip())) is not None]
    surface = any(match[1] for match in found)
    landsat = surface or "landsat" in platform
    late = re.search(r"landsat[ _-]?[89]\b", platform) or any(match[2] == "6" for match in found)
    if landsat and (re.search(r"landsat[ _-]?[1-7]\b", platform) or not late):
        found = []  # older Landsats count their bands differently
    table = _LANDSAT8 if landsat else _SENTINEL2
    bands: dict[str, int] = {}
    narrow = 0
    for number, name in enumerate(names, start=1):
        match = _NUMBERED.match(name.strip()) if found else None
        colour = table.get(match[2].upper()) if match else _COLOURS.get(name.strip().lower())
        if match and match[2].upper() == "8A":
            narrow = number
        elif colour is not None:
            bands.setdefault(colour, number)
    if narrow and not landsat:
        bands.setdefault("nir", narrow)
    return bands, landsat, surface


def _scaling(
    dataset: Any, numbers: Sequence[int], tags: Mapping[str, str], landsat: tuple[float, float] | None, surface: bool
) -> tuple[float, float, bool] | None:
    """(scale, offset, whether they are stated); None when bands differ in them or a tag is no number.

    `landsat`: its custom, stated where the bands' names say `surface`.
    """
    own = {(float(dataset.scales[n - 1]), float(dataset.offsets[n - 1])) for n in numbers}
    if len(own) > 1:
        return None
    scale, offset = own.pop()
    if (scale, offset) != (1.0, 0.0):
        return scale, offset, True
    try:
        if "REFLECTANCE_SCALE" in tags or "REFLECTANCE_OFFSET" in tags:
            usual = "1" if "float" in dataset.dtypes[0] else "1e-4"
            return float(tags.get("REFLECTANCE_SCALE", usual)), float(tags.get("REFLECTANCE_OFFSET", "0")), True
        if "float" in dataset.dtypes[0]:
            return 1.0, 0.0, True
        if landsat is not None:
            return *landsat, surface
        if "PROCESSING_BASELINE" in tags:
            late = _baseline(tags["PROCESSING_BASELINE"]) >= _OFFSET_SINCE
            return _SENTINEL2_SCALING[0], _SENTINEL2_OFFSET if late else 0.0, True
    except ValueError:
        return None
    return *_SENTINEL2_SCALING, False


def _baseline(said: str) -> float:
    """`05.09`, `N05.09`, and as products are named `N0509` or `0509`: 5.09."""
    digits = said.strip().lstrip("Nn")
    return float(digits) if len(digits) != 4 or not digits.isdigit() else int(digits) / 100


def _level(tags: Mapping[str, str]) -> str:
    """`l1c`, `l2a`, or nothing; the 2A in the name of the satellite S2A says no level."""
    said = " ".join(tags.get(key, "") for key in _LEVEL_TAGS).upper()
    if re.search(r"(MSI|L|\b)2A(?![0-9A-Z])|L2SP|L2SR|\bL2\b", said):
        return "l2a"
    return "l1c" if re.search(r"(MSI|L|\b)1C(?![0-9A-Z])|L1TP|L1GT|L1GS|\bL1\b", said) else ""
