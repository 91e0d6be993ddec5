"""Rows of tracks as text: what is written is read, and what is unusable is named."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.mot_text import by_frame, concatenate, no_rows, read_rows, rows, write_rows


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    some = rows([1, 3, 3], [7, 7, 2], rng.uniform(0, 50, (3, 4)).round(2) + 1, [0.5, 0.25, 1.0])
    write_rows(tmp_path / "new" / "tracks.txt", some)
    found = read_rows(tmp_path / "new" / "tracks.txt")
    assert np.array_equal(found.frame, some.frame)
    assert np.array_equal(found.id, some.id)
    assert np.allclose(found.xywh_px, some.xywh_px, atol=1e-2)
    assert np.allclose(found.score, some.score)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tracks.txt"]


def test_pixels_count_from_one_in_files_and_from_zero_here(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,4,1,1,160,96,1,1,0.75\n")
    found = read_rows(tmp_path / "gt.txt", truth=True)
    assert found.xywh_px.tolist() == [[0, 0, 160, 96]]
    assert (found.kind[0], found.visibility[0], found.targets[0]) == (1, 0.75, True)


@pytest.mark.parametrize(
    "text",
    [
        "1,-1,10,20,5,6,0.9\n",
        "1 -1 10 20 5 6 0.9",
        "\ufeff1,-1,10,20,5,6,0.9,-1,-1,-1\n\n# a remark\n",
        "1, -1, 10, 20, 5, 6, 0.9,\r\n",
    ],
)
def test_separators_remarks_and_marks_of_windows_do_not_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "det.txt").write_bytes(text.encode())
    found = read_rows(tmp_path / "det.txt")
    assert found.xywh_px.tolist() == [[9, 19, 5, 6]]
    assert found.score == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,1,10,10,5", "5 numbers"),
        ("1,1,ten,10,5,5", "no number"),
        ("0,1,10,10,5,5", "frame 0"),
        ("1.5,1,10,10,5,5", "frame 1.5"),
        ("1,1,10,10,0,5", "0 × 5"),
        ("1,1,10,10,5,-2", "5 × -2"),
        ("1,1,nan,10,5,5", "without end"),
        ("1,1,1e300,10,5,5", "without end"),
    ],
)
def test_an_unusable_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "det.txt").write_text(f"1,1,10,10,5,5\n{line}\n")
    with pytest.raises(StoryjaxError, match=f"line 2 .*{why}"):
        read_rows(tmp_path / "det.txt")
    broken: list[str] = []
    assert len(read_rows(tmp_path / "det.txt", broken=broken)) == 1
    assert len(broken) == 1
    assert "line 2" in broken[0]


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_bytes(b"\xfd\xfe\x00\x81" * 9)
    for path in (tmp_path / "det.txt", tmp_path / "nowhere.txt"):
        with pytest.raises(StoryjaxError, match="cannot be read"):
            read_rows(path)


def test_rows_by_frame_are_all_rows() -> None:
    some = rows([3, 1, 3], [1, 2, 3], np.ones((3, 4)))
    parts = by_frame(some)
    assert {frame: part.id.tolist() for frame, part in parts.items()} == {1: [2], 3: [1, 3]}
    assert sorted(concatenate(parts.values()).id.tolist()) == [1, 2, 3]
    assert by_frame(no_rows()) == {}
    assert len(concatenate([])) == 0


def test_an_empty_field_keeps_its_column(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("1,,101,102,40,90,0.5,-1,-1,-1\n2,3,101,102,40,90,,\n3,4,1,1,5,5,\n")
    found = read_rows(tmp_path / "det.txt")
    assert found.id.tolist() == [-1, 3, 4]
    assert found.xywh_px[0].tolist() == [100, 101, 40, 90]
    assert found.score.tolist() == [0.5, 1, 1]
    (tmp_path / "det.txt").write_text("1,1,101,,40,90,0.5\n")
    with pytest.raises(StoryjaxError, match="an empty field in its frame or box"):
        read_rows(tmp_path / "det.txt")


def test_ten_columns_of_truth_have_no_class(tmp_path: Path) -> None:
    """MOT15: the last three are a place in the world, which made classes of -4 and 13 of it."""
    (tmp_path / "gt.txt").write_text("1,1,10,10,5,5,1,-4.8,13.2,0\n1,2,10,10,5,5,0,-1,-1,-1\n")
    truth = read_rows(tmp_path / "gt.txt", truth=True)
    assert truth.kind.tolist() == [-1, -1]
    assert truth.visibility.tolist() == [1, 1]
    assert truth.targets.tolist() == [True, False]
    (tmp_path / "gt.txt").write_text("1,1,10,10,5,5,1,7,0.25\n1,1,10,10,5,5,1,1\n")
    truth = read_rows(tmp_path / "gt.txt", truth=True)
    assert truth.kind.tolist() == [7, 1]
    assert truth.visibility.tolist() == [0.25, 1]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("frame,id,bb_left,bb_top,bb_width,bb_height,conf\n1,-1,101,51,40,90,0.9\n", "utf-8"),
        ("1;-1;101,0;51,0;40,0;90,0;0,9\n", "utf-8"),
        ("1\t-1\t101\t51\t40\t90\t0.9\r\n", "utf-16"),
        ("1.0000e+00,-1.0,1.01e2,51,40,90,9e-1,\n", "utf-8-sig"),
    ],
)
def test_tables_as_spreadsheets_and_scripts_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "det.txt").write_bytes(text.encode(encoding))
    found = read_rows(tmp_path / "det.txt")
    assert (found.frame.tolist(), found.xywh_px.tolist()) == ([1], [[100, 50, 40, 90]])
    assert found.score[0] == pytest.approx(0.9)


def test_frames_can_count_from_zero(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("0,-1,1,1,5,5\n1,-1,1,1,5,5\n")
    with pytest.raises(StoryjaxError, match="frame 0"):
        read_rows(tmp_path / "det.txt")
    assert read_rows(tmp_path / "det.txt", first=0).frame.tolist() == [1, 2]
