"""Every text of the dashboard stands in both catalogues, and in none of the layouts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dashboard
from collateral.domain import AlertState, Priority, Quality, SiteKind
from collateral.errors import InvalidInputError
from collateral.quantities import OBSERVATION_QUANTITIES
from dashboard.formats import GRADES
from dashboard.i18n import CATALOGUES, texts
from scoring.indicators import INDICATORS
from scoring.rules import COVENANT_RULE, RULES

ROOT = Path(dashboard.__file__).parent
LAYOUTS = [
    *(path for part in ("pages", "components", "figures") for path in sorted((ROOT / part).glob("*.py"))),
    ROOT / "app.py",
]
SPOKEN = {"children", "title", "placeholder", "label", "alt", "text", "name", "hovertemplate"}
"""Arguments of components and figures that people read."""
UNSPOKEN_NAMES = {"token"}


def test_catalogues_have_the_same_keys_and_the_same_places() -> None:
    chinese, english = CATALOGUES["zh"], CATALOGUES["en"]
    assert set(chinese) == set(english)
    for key, text in english.items():
        assert places(text) == places(chinese[key]), key
        assert text.strip() and chinese[key].strip(), key


def places(text: str) -> set[str]:
    return set(re.findall(r"(?<!%)\{(\w+)\}", text))


def test_texts_are_in_their_language() -> None:
    same = {key for key, text in CATALOGUES["en"].items() if CATALOGUES["zh"][key] == text}
    assert same <= {"score.of_100", "breakdown.equation"}
    han = {key for key, text in CATALOGUES["en"].items() if re.search(r"[\u4e00-\u9fff]", text)}
    assert han == {"language.other"}


def test_what_the_data_can_say_has_a_text() -> None:
    named = [f"indicator.{row.key}" for row in INDICATORS]
    rules = [*(rule.name for rule in RULES), COVENANT_RULE]
    named += [f"{family}.{rule}" for family in ("rule", "rule_meaning") for rule in rules]
    named += [f"quantity.{key}" for key in OBSERVATION_QUANTITIES]
    for family, words in (
        ("kind", SiteKind), ("grade", GRADES), ("priority", Priority), ("state", AlertState), ("quality", Quality)
    ):
        named += [f"{family}.{word}" for word in words]
    assert [key for key in named if key not in CATALOGUES["en"]] == []


def test_every_key_that_is_used_exists_and_every_key_is_used() -> None:
    used: set[str] = set()
    patterns: list[str] = []
    for path in [*ROOT.rglob("*.py"), *ROOT.rglob("*.html")]:
        if path.parent.name == "i18n":
            continue
        source = path.read_text()
        used |= set(re.findall(r"""["']([a-z]+\.[a-zA-Z_0-9]+)["']""", source))
        for one in re.findall(r'f"([a-z]+\.[a-z_]*\{[^"]+)"', source):
            patterns.append(re.sub(r"\\\{.*?\\\}", ".+", re.escape(one)))
        patterns += [f"{family}\\..+" for family in re.findall(r"""named\(\s*["'](\w+)["']""", source)]
    known = set(CATALOGUES["en"])
    asked = {key for key in used if key.split(".")[0] in {one.split(".")[0] for one in known} and key.count(".") == 1}
    files = {"dashboard.html", "login.html", "dashboard.key", "dashboard.json", "site.geojson"}
    assert sorted(asked - known - files) == []
    idle = [key for key in known if key not in used and not any(re.fullmatch(pattern, key) for pattern in patterns)]
    assert sorted(idle) == []


def test_a_missing_text_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidInputError, match=r"no\.such"):
        texts("en")("no.such")
    assert texts("fr").locale == "zh"


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_layouts_carry_no_text_of_their_own(path: Path) -> None:
    found = [
        f"{path.name}:{text.lineno} {text.value!r}"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and spoken_call(call)
        for text in literals(call)
        if re.search(r"[A-Za-z\u4e00-\u9fff]{2,}", str(text.value))
    ]
    assert found == []


def spoken_call(call: ast.Call) -> bool:
    """Calls of html.X(...), dcc.X(...), dl.X(...) and go.X(...)."""
    function = call.func
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in {
        "html", "dcc", "dl", "go",
    }


def literals(call: ast.Call) -> Iterator[ast.Constant]:
    """Texts written directly into what people read: the content, and the arguments in SPOKEN."""
    content = call.args[:1]
    content += [one.value for one in call.keywords if one.arg in SPOKEN]
    for node in content:
        yield from direct(node)


def direct(node: ast.expr) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if node.value not in UNSPOKEN_NAMES:
            yield node
    elif isinstance(node, (ast.List, ast.Tuple)):
        for part in node.elts:
            yield from direct(part)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.Constant):
                yield part
    elif isinstance(node, ast.IfExp):
        yield from direct(node.body)
        yield from direct(node.orelse)
