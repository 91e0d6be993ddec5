"""A stray quotation mark costs its own line of a table, and a damaged header does not end a tar file early."""

import io
import tarfile
from pathlib import Path

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import tar_members
from storyjax.data.builders.tables import read_rows


def rows(path: Path, text: str) -> list[tuple[int, str | None, str | None]]:
    path.write_text(text, newline="")
    return [(line, row["a"], row["b"]) for line, row in read_rows(path, ("a", "b"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('1,"x, y"\n2,z\n', [(2, "1", "x, y"), (3, "2", "z")]),
        ('1,"two\nlines"\n2,z\n', [(3, "1", "two\nlines"), (4, "2", "z")]),
        # Without an end, and with the beginning of another field for an end.
        ('1,"x\n2,y\n3,z\n', [(2, "1", "x\n"), (3, "2", "y"), (4, "3", "z")]),
        ('1,"x\n2,"y"\n3,z\n', [(2, "1", "x\n"), (3, "2", "y"), (4, "3", "z")]),
        ('",1\n2,y\n",3\n', [(2, ",1\n", None), (3, "2", "y"), (4, ",3\n", None)]),
        ("1\n\n2,y,more\n", [(2, "1", None), (4, "2", "y")]),
    ],
)
def test_a_stray_quotation_mark_costs_its_own_line(text: str, expected: list, tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", f"a, b\n{text}") == expected


def test_a_field_without_end_in_a_large_table(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.csv", 'a,b\n1,"x\n' + "".join(f"{n},y\n" for n in range(40_000)))
    assert len(found) == 40_001
    assert found[-1] == (40_002, "39999", "y")


def test_a_damaged_header_is_not_the_end_of_a_tar_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as made:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.mp4")
            info.size = 600
            made.addfile(info, io.BytesIO(bytes([number + 1]) * 600))
    data = path.read_bytes()
    assert len(tar_members([path])) == 3
    second = 512 + 1024
    for damaged in (data[:second], data[:second] + b"x" * 512 + data[second + 512 :], data[:second] + bytes(512)):
        path.write_bytes(damaged + (data[second + 512 :] if damaged[second:] == bytes(512) else b""))
        with pytest.raises(
            StoryjaxError, match=r"shard\.tar cannot be read as a tar file \(it is damaged or cut short"
        ):
            tar_members([path])
