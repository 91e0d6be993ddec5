"""Files appear whole or not at all; vectors are scaled to unit length."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.arrays import unit_norm
from storyjax.core.files import UNFINISHED, atomic_path, write_atomically

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
