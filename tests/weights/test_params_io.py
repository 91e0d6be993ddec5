"""Weight files: what goes in comes out, and what does not fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from storyjax.core import params_io
from storyjax.core.errors import StoryjaxError

TREE = {
    "encoder": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T, "bias": np.zeros(3, np.float32)},
    "scale": np.float32(2.5),
    "count": np.arange(3, dtype=np.int32),
}


def abstract(tree: dict) -> dict:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def test_a_tree_survives_its_file(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    params_io.save_tree(path, TREE, {"source": "test"})
    back = params_io.fit(abstract(TREE), params_io.load_flat(path), "the file")
    jax.tree.map(np.testing.assert_array_equal, back, TREE)
    assert params_io.load_metadata(path) == {"source": "test"}
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path):
    values = jnp.array([1.0, 1 / 3, 1e30])
    params_io.save_tree(tmp_path / "half.safetensors", {"x": values, "n": np.arange(3)}, dtype=jnp.bfloat16)
    flat = params_io.load_flat(tmp_path / "half.safetensors")
    assert flat["x"].dtype == np.float32
    assert flat["n"].dtype == np.arange(3).dtype
    np.testing.assert_array_equal(flat["x"], values.astype(jnp.bfloat16).astype(jnp.float32))


def test_a_folder_of_shards_is_one_model(tmp_path):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.ones(3, np.float16)}, tmp_path / "model-2.safetensors")
    flat = params_io.load_flat(tmp_path)
    assert {name: (array.shape, array.dtype) for name, array in flat.items()} == {
        "a": ((2,), np.float32),
        "b": ((3,), np.float32),
    }
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "old.safetensors")
    with pytest.raises(StoryjaxError, match="two files hold 'a'"):
        params_io.load_flat(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    params_io.save_tree(path, {"a": np.ones(2, np.float32)})

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(params_io.os, "fsync", full)
    with pytest.raises(StoryjaxError, match=r"cannot write weights to .*No space left"):
        params_io.save_tree(path, {"a": np.zeros(2, np.float32)})
    assert params_io.load_flat(path)["a"].all()
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not safetensors", None])
def test_unreadable_weights_are_one_line(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoryjaxError, match=r"weights (from|at) .*model\.safetensors") as caught:
        params_io.load_flat(path)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(StoryjaxError, match=r"no \.safetensors file"):
        params_io.load_flat(tmp_path)


def test_fit_lists_all_that_does_not_fit():
    flat = params_io.flatten(TREE)
    flat["encoder/kernal"] = flat.pop("encoder/kernel")
    flat["count"] = np.arange(4)
    with pytest.raises(StoryjaxError) as caught:
        params_io.fit(abstract(TREE), flat, "a file")
    assert str(caught.value) == (
        "the weights in a file are of another model: 1 missing: encoder/kernel; 1 unused: encoder/kernal; "
        "1 misshapen: count (4,) for (3,)"
    )


def test_long_lists_are_cut():
    flat = {f"extra_{i:02}": np.zeros(1) for i in range(20)}
    with pytest.raises(StoryjaxError, match=r"20 unused: extra_00, .*, extra_07 and 12 more"):
        params_io.fit({}, flat, "a file")


def test_unknown_shipped_weights_are_named():
    with pytest.raises(StoryjaxError, match="no weights named 'clap' come with storyjax"):
        params_io.shipped("clap")
