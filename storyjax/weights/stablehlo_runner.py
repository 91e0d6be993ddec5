"""Runs functions that `storyjax export --to stablehlo` wrote, with nothing but JAX and NumPy.

    from run import load
    function = load("this/folder", "resample")
    outputs = function(frames=frames, seconds=seconds, condition=condition)

signature.json lists the functions, and the names, shapes and types of their inputs and outputs. The function is
compiled once for each set of shapes.
"""

import json
import pathlib

import jax
import numpy as np
from jax import export

TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "I32": "int32", "U8": "uint8", "BOOL": "bool"}


def read_safetensors(path, names):
    """Returns the arrays of these names: behind eight bytes of length and a JSON header are the arrays' bytes."""
    arrays = {}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name in names:
            first, last = header[name]["data_offsets"]
            file.seek(8 + length + first)
            data = np.frombuffer(file.read(last - first), jax.numpy.dtype(TYPES[header[name]["dtype"]]))
            arrays[name] = jax.numpy.asarray(data.reshape(header[name]["shape"]))
    return arrays


def load(folder, name=None):
    """Returns a function of `folder` (the only one, if there is no name), to be called with its inputs by name."""
    folder = pathlib.Path(folder)
    signature = json.loads((folder / "signature.json").read_text())
    functions = signature["functions"]
    if name is None:
        (name,) = functions
    described = functions[name]
    exported = export.deserialize(bytearray((folder / described["file"]).read_bytes()))
    weights = read_safetensors(folder / signature["weights"], described["weights"])
    call = jax.jit(exported.call)

    def function(**inputs):
        wanted = described["inputs"]
        if set(inputs) != set(wanted):
            raise TypeError(f"{name} takes {', '.join(wanted)}, not {', '.join(inputs)}")
        arrays = {key: jax.numpy.asarray(inputs[key], wanted[key]["dtype"]) for key in wanted}
        return call(weights, arrays)

    return function
