"""Labelled folders: what is written is read, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from collateral.errors import InvalidInputError
from detection.dataset import (
    Problems,
    read_boxes_folder,
    read_chips_folder,
    read_masks_folder,
    read_slots_folder,
    resample,
)
from detection.evaluate import to_grid


def _picture(path: Path, height: int = 40, width: int = 60, value: tuple[int, int, int] = (10, 20, 200)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value[::-1], np.uint8))


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        _picture(tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.5\n1 0.1 0.1 0.1 0.1\n")
    (tmp_path / "labels" / "b.txt").write_text("")
    (tmp_path / "ignore").mkdir()
    (tmp_path / "ignore" / "b.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "index.csv").write_text("name,split,gsd_m,source,group\na,train,0.1,s,g1\nb,train,0.2,s,g2\n")
    return tmp_path


def test_boxes_in_pixels_and_rgb(boxes: Path) -> None:
    a, b = read_boxes_folder(boxes, "train")
    assert a.boxes == pytest.approx(np.array([[24, 10, 36, 30], [3, 2, 9, 6]]), abs=1e-4)
    assert tuple(a.image[0, 0]) == (10, 20, 200) and a.image.shape == (40, 60, 3)
    assert len(b.boxes) == 0 and b.ignore[0] == pytest.approx([0, 0, 60, 40])
    assert [i.name for i in read_boxes_folder(boxes, None, ["g2"])] == ["b"]


def test_given_turned_rectangles_are_used(boxes: Path) -> None:
    (boxes / "oriented").mkdir()
    (boxes / "oriented" / "a.txt").write_text("30 20 22 9 0.7\n6 4 6 3 0\n")
    a = read_boxes_folder(boxes, "train")[0]
    assert a.oriented[0] == pytest.approx([30, 20, 22, 9, 0.7])
    (boxes / "oriented" / "a.txt").write_text("30 20 22 9 0.7\n")
    with pytest.raises(InvalidInputError, match="has 1 rows and its label file 2"):
        read_boxes_folder(boxes, "train")


def test_mistakes_are_named(boxes: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no row of split 'test'; it has \['train'\]"):
        read_boxes_folder(boxes, "test")
    (boxes / "labels" / "a.txt").write_text("0 0.5 half\n")
    with pytest.raises(InvalidInputError, match="not a table of 5 numbers"):
        read_boxes_folder(boxes, "train")
    (boxes / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInputError, match="no readable picture"):
        read_boxes_folder(boxes, "train")
    (boxes / "images" / "a.png").unlink()
    with pytest.raises(InvalidInputError, match="has no picture 'a'"):
        read_boxes_folder(boxes, "train")
    with pytest.raises(InvalidInputError, match=r"index\.csv is missing"):
        read_boxes_folder(boxes / "labels", None)


def test_chips_slots_and_masks(tmp_path: Path) -> None:
    _picture(tmp_path / "chips" / "images" / "c.png")
    (tmp_path / "chips" / "index.csv").write_text("name,split,gsd_m,label\nc,val,0.3,1\n")
    (chip,) = read_chips_folder(tmp_path / "chips", "val")
    assert (chip.label, chip.gsd_m) == (1, 0.3)
    _picture(tmp_path / "slots" / "empty" / "x.jpg")
    (tmp_path / "slots" / "index.csv").write_text("name,split,label\nempty/x.jpg,val,0\n")
    assert read_slots_folder(tmp_path / "slots", "val")[0].label == 0
    (tmp_path / "slots" / "index.csv").write_text("name,split,label,kind\nempty/x.jpg,val,0,parking bay\n")
    with pytest.raises(InvalidInputError, match="row 2: the kind 'parking bay' is unknown; it is one of yard_bay"):
        read_slots_folder(tmp_path / "slots", "val")
    _picture(tmp_path / "masks_set" / "images" / "m.png")
    mask = np.zeros((40, 60), np.uint8)
    mask[5:9, 7:11] = 255
    (tmp_path / "masks_set" / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks_set" / "masks" / "m_label.png"), mask)
    with pytest.raises(InvalidInputError, match="has no gsd_m"):
        read_masks_folder(tmp_path / "masks_set", None)
    (item,) = read_masks_folder(tmp_path / "masks_set", None, gsd_m=0.25)
    assert item.mask.sum() == 16 and item.gsd_m == 0.25


def test_resampling_keeps_the_ground_size() -> None:
    picture = np.zeros((120, 240, 3), np.uint8)
    picture[:, 120:] = 200
    for seen in (None, 0.3):
        out = to_grid(picture, 0.1, 0.15, seen)
        assert out.shape == (80, 160, 3)
        assert abs(int((out[40, :, 0] > 100).sum()) - 80) <= 1
    assert resample(picture, 1.0) is picture


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("name,split\na,val\n", "gsd_m None"), ("name,split,gsd_m\na,val,x\n", "gsd_m 'x'"),
        ("name,split,gsd_m\na,val,0\n", "above 0"), ("file,split,gsd_m\na,val,0.3\n", "without name"),
        ("\xff", "UTF-8"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_meant_is_refused(tmp_path: Path, index: str, said: str) -> None:
    (tmp_path / "index.csv").write_bytes(index.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=said):
        read_boxes_folder(tmp_path, "val")


@pytest.mark.parametrize(
    ("labels", "row", "said"),
    [
        ("0 0.5 0.5 0.2 0.5\n3 0.1 0.1 0.1 0.1\n", 2, "class 3 is out of range"),
        ("0.5 0.5 0.5 0.2 0.5\n", 1, "class 0.5 is out of range"),
        ("0 0.5 0.5 0.2\n", 1, "not a table of 5 numbers"),
        ("0 0.5 0.5 nan 0.2\n", 1, "not a table of 5 numbers"),
        ("0 120 80 20 30\n", 1, "is not in the picture"),
        ("0 0.5 0.5 0 0.2\n", 1, "is not in the picture"),
    ],
)
def test_wrong_labels_are_named_or_left_out(boxes: Path, labels: str, row: int, said: str) -> None:
    (boxes / "dataset.json").write_text('{"classes": ["car", "heavy"]}')
    (boxes / "labels" / "a.txt").write_text(labels)
    with pytest.raises(InvalidInputError, match=said):
        read_boxes_folder(boxes, "train")
    problems: Problems = []
    assert [item.name for item in read_boxes_folder(boxes, "train", problems=problems)] == ["b"]
    (problem,) = problems
    assert problem["row"] == row and str(problem["file"]).endswith("labels/a.txt")
    assert said in str(problem["problem"]) and problem["remedy"]


def test_pictures_that_cannot_be_read_are_left_out_unless_all_are(boxes: Path) -> None:
    (boxes / "images" / "a.png").write_bytes(b"")
    problems: Problems = []
    assert len(read_boxes_folder(boxes, "train", problems=problems)) == 1
    assert "no readable picture" in str(problems[0]["problem"])
    (boxes / "images" / "b.png").unlink()
    with pytest.raises(InvalidInputError, match="has no picture 'b'"):
        read_boxes_folder(boxes, "train", problems=[])


def test_names_are_unique_and_an_index_without_rows_says_so(boxes: Path) -> None:
    index = boxes / "index.csv"
    index.write_text("name,split,gsd_m\na,train,0.1\nb,train,0.1\na,train,0.1\na,val,0.1\n")
    with pytest.raises(InvalidInputError, match=r"index\.csv, row 4: the name 'a' is already in row 2"):
        read_boxes_folder(boxes, "train")
    assert len(read_boxes_folder(boxes, "val")) == 1
    index.write_text("name,split,gsd_m\n")
    with pytest.raises(InvalidInputError, match="a header and no rows"):
        read_boxes_folder(boxes, "train")


def test_labels_of_chips_are_yes_or_no(tmp_path: Path) -> None:
    _picture(tmp_path / "images" / "c.png")
    (tmp_path / "index.csv").write_text("name,split,gsd_m,label\nc,val,0.3,2\n")
    with pytest.raises(InvalidInputError, match=r"row 2: 'c' has label '2'; 0 or 1 is needed"):
        read_chips_folder(tmp_path, "val")
