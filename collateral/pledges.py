"""When two pledged things are the same thing: serials as people write them, and which pledge came first. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from collateral.domain import Asset

_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\W_]+(?=\d)")
_SEPARATORS = re.compile(r"(?!-)[\W_]|(?<!\d)-|-(?!\d)")


def serial_key(serial: str) -> str:
    """A serial without what its writers differ in: case, full width, and separators, but for those between two digits.

    `WR-77`, `wr 77` and `ＷＲ－７７` are one; `WR-1-11` and `WR-11-1` are two. Empty where nothing can be compared.
    """
    plain = unicodedata.normalize("NFKC", serial).casefold()
    return _SEPARATORS.sub("", _BETWEEN_DIGITS.sub("-", plain))


class Pledges:
    """Pledged things by their serial."""

    def __init__(self, assets: Iterable[Asset] = ()) -> None:
        self._by_key: dict[str, list[Asset]] = defaultdict(list)
        for asset in assets:
            if key := serial_key(asset.serial):
                self._by_key[key].append(asset)

    def before(self, asset: Asset) -> list[Asset]:
        """The same thing, pledged to other loans before; on the same day the smaller id is the earlier pledge."""
        return [
            other
            for other in self._by_key.get(serial_key(asset.serial), ())
            if other.loan_id != asset.loan_id
            and (other.pledged_on, other.asset_id) < (asset.pledged_on, asset.asset_id)
        ]


def pledged_once(assets: Sequence[Asset]) -> list[Asset]:
    """Those of `assets` that are none of the others pledged again: goods and tags that are there once."""
    held = Pledges(assets)
    return [asset for asset in assets if not held.before(asset)]
