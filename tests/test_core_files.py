"""Files appear whole or not at all; vectors are scaled to unit length."""

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import (
    UNFINISHED,
    OutputError,
    atomic_path,
    check_outputs,
    exclusive_lock,
    json_text,
    write_atomically,
)

TEXT = "naïve\nlines\n"


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("content", [TEXT, TEXT.encode(), None], ids=["text", "bytes", "callback"])
def test_a_file_is_replaced_as_a_whole(content: str | bytes | None, durable: bool, tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)  # names that are nearly too long take a temporary name too
    path.write_text("old")
    seen = []

    def callback(unfinished: Path) -> None:
        seen.append((path.read_text(), [file.name for file in tmp_path.glob(UNFINISHED)]))
        unfinished.write_text(TEXT, encoding="utf-8")

    write_atomically(path, callback if content is None else content, durable=durable)
    assert path.read_bytes() == TEXT.encode()
    assert list(tmp_path.iterdir()) == [path]
    assert seen in ([], [("old", [])])


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        assert list(tmp_path.glob(UNFINISHED)) == [unfinished]
        raise RuntimeError("the disk")

    with pytest.raises(RuntimeError, match="the disk"):
        write_atomically(path, fail)
    with pytest.raises(OSError, match="none"):
        write_atomically(tmp_path / "none" / "file", "text")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass  # nothing was written to the path that it yields
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unit_norm_of_both_kinds_of_arrays() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    x[1] = 0
    lengths = [1, 0, 1]
    for ours in (unit_norm(x), unit_norm(jnp.asarray(x)), unit_norm(jnp.asarray(x), safe_gradient=False)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), lengths, atol=1e-6)
    assert isinstance(unit_norm(x), np.ndarray)
    np.testing.assert_allclose(np.linalg.norm(unit_norm(x, axis=None)), 1, atol=1e-6)
    np.testing.assert_allclose(unit_norm(1e-3 * x, eps=1e6), 1e-9 * x, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: unit_norm(x).sum())(jnp.asarray(x))).all()


def refused(outputs: list[tuple[str, object]], read: list[object], message: str) -> None:
    with pytest.raises(OutputError, match=message) as raised:
        check_outputs(outputs, read)
    assert "\n" not in str(raised.value)


def test_nothing_is_written_over_what_was_read_by_whatever_name(tmp_path: Path, monkeypatch) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    (tmp_path / "link.mp4").symlink_to("film.mp4")
    os.link(film, tmp_path / "hard.mp4")
    (tmp_path / "folder").symlink_to(".", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for name in ("film.mp4", "link.mp4", "hard.mp4", "folder/film.mp4", "./film.mp4", str(film)):
        refused([("--out", name)], [film, "not there"], "--out .* a file that is read")
    refused([("--out", "a.txt"), ("--render", "folder/a.txt")], [], "are the same file")
    refused([("--out", "hard.mp4"), ("--render", "link.mp4")], [], "are the same file")
    refused([("--out", "none/a.txt")], [], "there is no folder none")
    check_outputs([("--out", "new.mp4"), ("--why", None), ("--render", "made/new.mp4")], [film], make_folders=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "folder", "hard.mp4", "link.mp4", "made"]


def test_devices_pipes_and_folders_are_no_files_to_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/full")
    (tmp_path / "circle").symlink_to("circle")
    for name, kind in (("pipe", "a pipe"), ("device", "a device"), ("", "a folder")):
        refused([("--out", tmp_path / name)], [], f"is {kind}")
        with pytest.raises(OutputError, match=f"is {kind}"):
            write_atomically(tmp_path / name, "text")
    refused([("--out", tmp_path / "circle")], [], "cannot be written")
    refused([("--out", "a\0b")], [], "cannot be written")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_link_stays_and_its_target_is_replaced_with_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "target.txt"
    target.write_text("old")
    target.chmod(0o640)
    for link, pointed in (("link", target), ("dangling", tmp_path / "there" / "new.txt")):
        (tmp_path / link).symlink_to(pointed)
        check_outputs([("--out", tmp_path / link)])
        write_atomically(tmp_path / link, "new")
        assert (tmp_path / link).is_symlink()
        assert pointed.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["new.txt", "target.txt"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"too large.*tracks\.txt"), atomic_path(tmp_path / "tracks.txt") as path:
            path.write_bytes(bytes(5000))
        refused([("--out", tmp_path / "tracks.txt")], [], "can't be written into")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_once_and_dies_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with exclusive_lock(lock, "taken"), pytest.raises(StoryjaxError, match="taken"), exclusive_lock(lock, "taken"):
        pass
    child = (
        f"import os; from storyjax.core.files import *\nwith exclusive_lock({str(lock)!r}, ''): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", child.replace("*", "exclusive_lock")]).returncode == -9
    with exclusive_lock(lock, "taken"):
        pass


def test_json_keeps_names_that_are_no_utf8() -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    text = json_text({"video": name, "who": "Zoë"})
    assert "Zoë" in text.encode("utf-8").decode("utf-8")
    assert json.loads(text) == {"video": name, "who": "Zoë"}
