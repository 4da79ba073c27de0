"""Rules between rows and files: unique ids, references that lead somewhere, pledges made once, sums and dates that agree."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from collateral.domain import TOPIC_ID, Asset, Device, Link, Loan, Price, Slot
from collateral.pledges import serial_key
from collateral.portfolio.kinds import Identifier
from collateral.portfolio.parsing import Parsed
from collateral.portfolio.problems import Problem, Severity
from collateral.portfolio.schema import FILES, FileSpec
from collateral.portfolio.shapes import site_overlaps, slot_places

Folder = Mapping[str, Parsed]
"""Part of the portfolio to its parsed file."""


def check_folder(folder: Folder) -> list[Problem]:
    """Every problem between rows and files, by file and row."""
    found = list(chain.from_iterable(rule(folder) for rule in RULES))
    order = {spec.name: position for position, spec in enumerate(FILES)}
    return sorted(found, key=lambda one: (order[one.file], one.row or 0))


def _unique(folder: Folder) -> Iterator[Problem]:
    for spec in FILES:
        seen: dict[tuple[object, ...], tuple[int, object]] = {}
        for record in folder[spec.part].records:
            key = tuple(getattr(record.value, name) for name in spec.key)
            if key not in seen:
                seen[key] = (record.row, record.value)
                continue
            first_row, first = seen[key]
            yield _double(spec, key, record.row, record.value, first_row, first)


def _double(
    spec: FileSpec, key: tuple[object, ...], row: int, value: object, first_row: int, first: object
) -> Problem:
    name = ", ".join(map(str, key))
    if isinstance(value, Asset) and isinstance(first, Asset) and value.loan_id != first.loan_id:
        return Problem(
            spec.name, row,
            f"Asset {name} is pledged to loan {value.loan_id} and, in row {first_row}, to loan {first.loan_id}.",
            "One thing secures one loan: correct the loan, or give a different thing its own asset_id.",
        )
    if isinstance(value, Slot) and isinstance(first, Slot) and value.asset_id != first.asset_id:
        return Problem(
            spec.name, row,
            f"Slot {name} holds asset {value.asset_id or '(none)'} and, in row {first_row}, {first.asset_id or '(none)'}.",
            "One place holds one lot: remove one of the two, or give a different place its own slot_id.",
        )
    return Problem(
        spec.name, row, f"{' + '.join(spec.key)} {name} stands in row {first_row} already.", "Remove one of the two rows."
    )


def _references(folder: Folder) -> Iterator[Problem]:
    for spec in FILES:
        for column in spec.columns:
            if not (isinstance(column.kind, Identifier) and column.kind.refers):
                continue
            target = folder[column.kind.refers]
            if not target.file.readable:
                continue
            for record in folder[spec.part].records:
                name = getattr(record.value, column.target)
                if name and name not in target.named:
                    yield Problem(
                        spec.name, record.row, f"{column.name} {name!r} is not in {target.file.spec.name}.",
                        f"Correct it, or add it to {target.file.spec.name}.",
                    )


def _loans(folder: Folder) -> Iterator[Problem]:
    known_users = folder["users"].named
    for record in folder["loans"].records:
        loan: Loan = record.value
        if loan.matures_on <= loan.granted_on:
            yield Problem("loans.csv", record.row, f"Loan {loan.loan_id} matures on {loan.matures_on}, not after "
                          f"{loan.granted_on}, when it was granted.", "Correct one of the two dates.")
        if loan.outstanding > loan.principal:
            yield Problem("loans.csv", record.row, f"Loan {loan.loan_id}: {loan.outstanding} is outstanding of a principal "
                          f"of {loan.principal}.", "Correct it unless interest was capitalised.", Severity.WARNING)
        if known_users and loan.officer not in known_users:
            yield Problem("loans.csv", record.row, f"officer {loan.officer!r} is not in users.csv.",
                          "Add the person, or name the username of another.", Severity.WARNING)


def _assets(folder: Folder) -> Iterator[Problem]:
    loans: dict[str, Loan] = {record.value.loan_id: record.value for record in folder["loans"].records}
    secured = {(record.value.loan_id, record.value.site_id) for record in folder["loan_sites"].records}
    priced = {(record.value.commodity, record.value.currency) for record in folder["prices"].records}
    commodities = {commodity for commodity, _ in priced}
    for record in folder["assets"].records:
        asset: Asset = record.value
        if asset.commodity and asset.commodity not in commodities and folder["prices"].file.readable:
            yield Problem("assets.csv", record.row, f"commodity {asset.commodity!r} has no row in prices.csv.",
                          "Add its price, or leave commodity empty and give a value.")
        elif asset.commodity and asset.loan_id in loans and (asset.commodity, loans[asset.loan_id].currency) not in priced:
            yield Problem("assets.csv", record.row, f"{asset.commodity} has no price in {loans[asset.loan_id].currency}, "
                          "the currency of its loan.", "Add one; until then the asset cannot be valued.", Severity.WARNING)
        if not asset.commodity and asset.value is None:
            yield Problem("assets.csv", record.row, f"Asset {asset.asset_id} has neither a commodity nor a value.",
                          "Give one of them; until then it covers nothing.", Severity.WARNING)
        if folder["loan_sites"].file.readable and (asset.loan_id, asset.site_id) not in secured:
            yield Problem("assets.csv", record.row, f"Asset {asset.asset_id} secures loan {asset.loan_id} at site "
                          f"{asset.site_id}, which does not secure that loan.", "Add the pair to loan_sites.csv.",
                          Severity.WARNING)


def _double_pledges(folder: Folder) -> Iterator[Problem]:
    """The same serial under two loans is imported, so that it can be watched and the alert `double_pledge` is raised."""
    above: dict[str, dict[tuple[str, str], tuple[int, Asset]]] = defaultdict(dict)
    for record in folder["assets"].records:
        asset: Asset = record.value
        key = serial_key(asset.serial)
        if not key:
            continue
        alike = above[key.replace("-", "")]
        others = [place for (_, loan_id), place in alike.items() if loan_id != asset.loan_id]
        same = [place for (written, loan_id), place in alike.items() if loan_id != asset.loan_id and written == key]
        alike.setdefault((key, asset.loan_id), (record.row, asset))
        if same:
            row, earlier = same[0]
            yield Problem("assets.csv", record.row, f"serial {asset.serial!r} is pledged to loan {asset.loan_id} and, in "
                          f"row {row}, to loan {earlier.loan_id}.", "Find out which pledge holds; it is imported, the later "
                          "pledge counts nothing, and an alert is raised.", Severity.WARNING)
        elif others:
            row, earlier = others[0]
            yield Problem("assets.csv", record.row, f"serial {asset.serial!r}, pledged to loan {asset.loan_id}, has the "
                          f"letters and digits of {earlier.serial!r} in row {row}, pledged to loan {earlier.loan_id}.",
                          "Find out whether it is one thing and write its serial alike; as it is, both count.",
                          Severity.WARNING)


def _same_site(folder: Folder) -> Iterator[Problem]:
    at = {record.value.asset_id: record.value.site_id for record in folder["assets"].records}
    for part in ("slots", "devices"):
        spec = folder[part].file.spec
        for record in folder[part].records:
            thing: Slot | Device = record.value
            if thing.asset_id in at and at[thing.asset_id] != thing.site_id:
                yield Problem(spec.name, record.row, f"It is at site {thing.site_id}, its asset {thing.asset_id} at "
                              f"{at[thing.asset_id]}.", "Correct site_id or asset_id.")


def _topics(folder: Folder) -> Iterator[Problem]:
    """A device publishes under its site's id and its own: both must be able to stand in a topic."""
    for record in folder["devices"].records:
        device: Device = record.value
        for column, name in (("device_id", device.device_id), ("site_id", device.site_id)):
            if re.fullmatch(TOPIC_ID, name) is None:
                yield Problem(
                    "devices.csv", record.row,
                    f"{column} {name!r} cannot stand in an MQTT topic: whatever the device sends would be refused.",
                    "Use 1 to 64 of A-Z, a-z, 0-9, _, ., -, beginning with a letter or digit.",
                )


def _prices(folder: Folder) -> Iterator[Problem]:
    units: dict[str, tuple[int, str]] = {}
    for record in folder["prices"].records:
        price: Price = record.value
        row, unit = units.setdefault(price.commodity, (record.row, price.unit))
        if unit != price.unit:
            yield Problem("prices.csv", record.row, f"{price.commodity} is priced per {price.unit} and, in row {row}, per "
                          f"{unit}.", "Use one unit for a commodity: quantities are in it.")


def _links(folder: Folder) -> Iterator[Problem]:
    for record in folder["links"].records:
        link: Link = record.value
        if link.from_borrower_id == link.to_borrower_id:
            yield Problem("links.csv", record.row, f"{link.from_borrower_id} is linked to itself.", "Remove the row.")
        if (link.amount is None) != (not link.currency):
            yield Problem("links.csv", record.row, "An amount and its currency belong together.", "Give both or neither.")


def _people(folder: Folder) -> Iterator[Problem]:
    branches = {row.cells.get("branch") for row in folder["loans"].file.rows}
    for record in folder["users"].records:
        branch = record.value.branch
        if branch and branches and branch not in branches:
            yield Problem("users.csv", record.row, f"No loan is kept by branch {branch!r}: {record.value.username} would "
                          "see nothing.", "Correct the branch, or leave it empty for all.", Severity.WARNING)


def _places(folder: Folder) -> Iterator[Problem]:
    sites = {record.value.site_id: record.value for record in folder["sites"].records}
    assets = {record.value.asset_id: record.value for record in folder["assets"].records}
    yield from site_overlaps([(record.row, record.value) for record in folder["sites"].records])
    yield from slot_places([(record.row, record.value) for record in folder["slots"].records], sites, assets)


RULES: tuple[Callable[[Folder], Iterator[Problem]], ...] = (
    _unique, _references, _loans, _assets, _double_pledges, _same_site, _topics, _prices, _links, _people, _places,
)
