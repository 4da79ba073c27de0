"""Policy files with mistakes in them: each is told with its place, and none is taken for what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from collateral.errors import InvalidInputError
from iot.retention import read_policy
from scoring.policy import load_policy
from tests.scoring_support import POLICY


@pytest.mark.parametrize(("old", "new", "said"), [
    ("A = 80.0", "A = nan", "grades.A is nan, which is no figure"),
    ("A = 80.0", "A = 20.0", "give A, B, C and D falling limits"),
    ("A = 80.0", 'A = "eighty"', "grades.A is 'eighty', which is no number"),
    ("A = 80.0", "A = true", "grades.A is True, which is no number"),
    ("A = 80.0", "A = 80.0\nF = 3.0", "grades.F is read by nothing; known there are A, B, C, D, support_floor"),
    ("support_floor = 0.35", "support_floor = 35", "grades.support_floor is 35; give 0 to 1"),
    ("version =", "nonsense = 1\nversion =", "nonsense is read by nothing"),
    (f'"{POLICY.version}"', "5", "version is 5, which is no text"),
    (f'"{POLICY.version}"', '""', "version is missing or empty"),
    ("spring_before_days", "spring_befor_days", "calendar.spring_befor_days is read by nothing"),
    ("ready_after_h = 3.0", "ready_after_h = -3.0", "calendar.ready_after_h is -3.0; give 0 to 24"),
    ('["01-01", 1]', '["13-01", 1]', "calendar.fixed holds"),
    ('["01-01", 1]', '"01-01"', "calendar.fixed holds '01-01'"),
    ("pv_array = 0.3", "pv_array = 30", "coverage.appraised_haircut.pv_array is 30; give 0 to 1"),
    ("from_days = 300.0", "from_days = 3.0", "baseline.daily has no days between"),
    ("min_spread = 0.02", "min_spread = -0.02", "baseline.daily.min_spread is -0.02; give 0 to 10"),
    ("slots = 10", "slots = 10.5", "slots is 10.5, which is no whole number"),
    ("[indicator.energy]", '[indicator.energy]\nleast_normal = "a"', "energy.least_normal is 'a', which is no number"),
    ("[indicator.energy]", "[indicator.energy]\nleast_normal = nan", "indicator.energy.least_normal is nan"),
    ("prior = ", 'prior = "', "is not valid"),
    ("[coverage]", "[coverag]", "coverag is read by nothing"),
])  # fmt: skip
def test_a_mistake_is_told_with_its_place(old: str, new: str, said: str, tmp_path: Path) -> None:
    body = POLICY.body.replace(old, new, 1)
    assert body != POLICY.body
    path = tmp_path / "policy.toml"
    path.write_text(body)
    with pytest.raises(InvalidInputError) as caught:
        load_policy(path)
    assert said in str(caught.value)


def test_files_that_are_no_policy_are_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match=r"policy.toml is not valid .*write it in TOML and UTF-8"):
        load_policy(path)
    path.write_text(POLICY.body.partition("[coverage]")[0])
    with pytest.raises(InvalidInputError, match="'coverage' is missing"):
        load_policy(path)
    path.write_text("reading = 5\n")
    with pytest.raises(InvalidInputError, match=r"policy.toml: reading is not a rule"):
        read_policy(path)


def test_the_form_leaves_room_for_other_figures_and_baselines(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    own = POLICY.body.replace("A = 80.0", "A = 85", 1) + "\n[baseline.own]\n"
    path.write_text(own + "from_days = 60\nuntil_days = 5\nmin_n = 4\nmin_spread = 0.1\n")
    assert load_policy(path).grades[0] == ("A", 85.0)
