"""Safetensors a tensor at a time: what the safetensors package writes we read, what we write it reads."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from storyjax.core.errors import StoryjaxError
from storyjax.weights.tensor_files import new_folder, stored_tensors, write_tensors

ARRAYS = {
    "half": np.arange(5).astype(ml_dtypes.bfloat16),
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "scalar": np.array(2.5, np.float16),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
}


def layout(arrays: dict) -> dict:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def test_what_we_write_the_safetensors_package_reads(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, layout(ARRAYS), reversed(ARRAYS.items()), {"made": "here"})
    back = load_file(path)
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
    # Every tensor starts at a multiple of its own width, in the file too.
    for name, tensor in stored_tensors(path).items():
        assert tensor.start % ARRAYS[name].dtype.itemsize == 0


def test_what_the_safetensors_package_writes_we_read(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: np.asarray(array, order="C") for name, array in ARRAYS.items()}, path)
    tensors = stored_tensors(path)
    for name, array in ARRAYS.items():
        assert (tensors[name].shape, tensors[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(tensors[name].read(), array)
        np.testing.assert_array_equal(np.asarray(tensors[name], np.float32), array.astype(np.float32))
    assert list(stored_tensors(path, "ma")) == ["matrix"]


def test_an_array_that_was_never_written_or_does_not_fit_is_a_defect(tmp_path):
    some = [(name, ARRAYS[name]) for name in ("half", "matrix", "scalar", "empty")]
    with pytest.raises(ValueError, match="never written: flags"):
        write_tensors(tmp_path / "a", layout(ARRAYS), some)
    with pytest.raises(ValueError, match=r"'half' is \(2,\)"):
        write_tensors(tmp_path / "a", layout(ARRAYS), [("half", np.zeros(2))])


def header(entry: dict) -> bytes:
    text = json.dumps({"x": entry}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "no header"),
        (b"PK\x03\x04 not safetensors at all", "no header"),
        ((9).to_bytes(8, "little") + b"not JSON!", "its header is not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "its header is not an object"),
        ((50).to_bytes(8, "little") + b"{}", "it ends within its header"),
        (header({"dtype": "F32", "shape": [2]}), "has no type, shape or place"),
        (header({"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}), "of the type F4"),
        (header({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}), "is said to take 4 bytes"),
        (header({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}), "is said to take"),
        (header({"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}), "is cut short: it has"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoryjaxError, match=message) as caught:
        stored_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"x": ((100,), np.dtype(np.float32))}, [("x", np.ones(100))])
    tensor = stored_tensors(path)["x"]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StoryjaxError, match="became shorter"):
        tensor.read()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fail(error):
        with new_folder(tmp_path / "out") as folder:
            (folder / "half").touch()
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError())
    with pytest.raises(StoryjaxError, match=r"cannot write .*out: No space left"):
        fail(OSError(28, "No space left on device"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]
    with pytest.raises(StoryjaxError, match="is there already"), new_folder(tmp_path / "out"):
        pass
