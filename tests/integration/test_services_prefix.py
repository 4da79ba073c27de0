"""Private prefixes: made once, found again, made whole when they were not, one maker at a time. One small package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collateral.errors import ServiceError
from collateral.services.prefix import STAMP, Recipe, find, provision

SMALL = Recipe("small", ("netbase",), (), ())
ROOT = Path(__file__).resolve().parents[2]


def test_concurrent_provisioners_make_one_prefix_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from collateral.services.prefix import Recipe, provision\n"
        "print(provision(Recipe('small', ('netbase',), (), ()), [Path(sys.argv[1])]).root)\n"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    answers = [maker.communicate(timeout=200) for maker in makers]
    roots = {Path(output.strip()) for output, _ in answers}
    assert len(roots) == 1, answers
    assert sum("ready after" in progress for _, progress in answers) == 1

    prefix = find(SMALL, tmp_path)
    assert prefix is not None
    assert roots == {prefix.root}
    assert prefix.version("netbase")
    assert (prefix.root / "etc/protocols").is_file()
    assert provision(SMALL, [tmp_path / "elsewhere", tmp_path]) == prefix
    assert not (tmp_path / "elsewhere").exists()

    (prefix.root / STAMP).unlink()
    (prefix.root / "etc/protocols").unlink()
    assert provision(SMALL, [tmp_path]) == prefix
    assert (prefix.root / "etc/protocols").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_prefix_of_another_recipe_is_another_prefix() -> None:
    keys = {SMALL.key, Recipe("small", ("netbase",), (), (), revision=2).key, Recipe("small", ("x",), (), ()).key}
    assert len(keys) == 3


def test_no_folder_to_write_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="file/cache"):
        provision(SMALL, [tmp_path / "file" / "cache"])
