"""`storyjax export`: a trained run as safetensors, as an Orbax checkpoint, or as StableHLO with its weights beside it.

It rebuilds the Experiment from the run's config.json, so a chapter does nothing for the first two, and names its
functions (`Experiment.exports`) for the third.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as stablehlo
from ml_collections import ConfigDict

from storyjax.core.buckets import place
from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten
from storyjax.core.renames import modernise
from storyjax.train.checkpoint import EXPORTED, Checkpoints, load_trainable
from storyjax.train.experiment import Experiment, Export, build_experiment
from storyjax.train.initial_state import restore_or_init
from storyjax.train.mesh import make_mesh
from storyjax.train.params import merge, partition
from storyjax.train.settings import MeshSettings, Settings, complete, read_settings
from storyjax.weights import stablehlo_runner
from storyjax.weights.tensor_files import check_new, new_folder, write_tensors

# What StableHLO is lowered for, whatever devices are present.
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclass(frozen=True)
class _Run:
    """A finished run; `init_gave_frozen`: whether frozen parameters are from `config.init`."""

    folder: Path
    config: ConfigDict
    settings: Settings
    experiment: Experiment
    init_gave_frozen: bool

    def parameters(self) -> dict[str, jax.Array]:
        """All parameters, flat, as the run has them in memory."""
        start = restore_or_init(self.settings, self.experiment, self.folder, make_mesh(MeshSettings()))
        return flatten(merge(start.trainable, start.frozen))

    def own(self) -> dict[str, np.ndarray]:
        """The parameters that no other file has: trained ones, and frozen ones that are random or from config.init."""
        tree = jax.eval_shape(self.experiment.init, jax.random.key(0))
        _, frozen = partition(tree, self.experiment.trainable)
        given = set()
        if frozen and not self.init_gave_frozen and self.experiment.pretrained is not None:
            given = set(self.experiment.pretrained())
        if set(flatten(frozen)) <= given:
            return load_trainable(self.folder)
        given -= set(flatten(tree)) - set(flatten(frozen))  # training has changed those
        return {path: np.asarray(leaf) for path, leaf in self.parameters().items() if path not in given}


def _open_run(folder: Path) -> _Run:
    path = folder / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{folder} is not the workdir of a run: it has no config.json that can be read") from error
    if not isinstance(stored, dict) or "experiment" not in stored:
        raise StoryjaxError(f"{path} names no experiment: give the workdir of a run")
    config = complete(ConfigDict(modernise(stored)))
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        step = checkpoints.latest()
        if step is None:
            raise StoryjaxError(f"the run in {folder} has no whole checkpoint yet: train it first")
        gave = bool(checkpoints.meta(step).get("init_gave_frozen"))
    finally:
        checkpoints.close()
    return _Run(folder, config, read_settings(config), build_experiment(config), gave)


def export_run(run: str | Path, to: str, out: str | Path) -> str:
    """Exports the latest checkpoint of a run.

    Args:
        run: its workdir.
        to: one of FORMATS.
        out: the new folder.

    Returns:
        A line that says what was written where.

    Raises:
        StoryjaxError: there is no run or checkpoint, the format is unknown, the run's experiment has no functions to
            export, or the folder cannot be written. Nothing is written then.
    """
    write = FORMATS[choose(to, FORMATS, "--to")]
    check_new(out)
    opened = _open_run(place(run))
    with new_folder(out) as folder:
        written = write(opened, folder)
        (folder / "config.json").write_text((opened.folder / "config.json").read_text())
    return f"{written} in {out}"


def _counted(arrays: Mapping[str, Any]) -> str:
    return f"{sum(array.size for array in arrays.values()):,} parameters in {len(arrays):,} arrays"


def _readme(folder: Path, title: str, *paragraphs: str) -> None:
    (folder / "README.md").write_text("\n\n".join([f"# {title}", *paragraphs]) + "\n")


def _save(path: Path, arrays: Mapping[str, Any], run: _Run) -> None:
    layout = {name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in arrays.items()}
    metadata = {"experiment": run.experiment.name, "made_by": "storyjax export"}
    write_tensors(path, layout, ((name, np.asarray(array)) for name, array in arrays.items()), metadata)


def _to_safetensors(run: _Run, folder: Path) -> str:
    arrays = run.own()
    _save(folder / "model.safetensors", arrays, run)
    for name in run.experiment.files:
        if (run.folder / name).exists():  # runs of earlier versions have none
            (folder / name).write_bytes((run.folder / name).read_bytes())
    _readme(
        folder,
        f"A trained {run.experiment.name}",
        f'`model.safetensors` has {_counted(arrays)}, named by their paths ("tcr/queries"); `config.json` is the'
        " config that the run was trained with. Frozen networks that other files hold are not in it: the config"
        " names them.",
        "`config.init.checkpoint` of another run takes this folder; of a TCR `storyjax ask --checkpoint` does too.",
    )
    return _counted(arrays)


def _to_orbax(run: _Run, folder: Path) -> str:
    import orbax.checkpoint as ocp

    arrays = run.own()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute() / EXPORTED, unflatten(arrays))
    _readme(
        folder,
        f"A trained {run.experiment.name}",
        f"`params` is an Orbax checkpoint of a nested dict with {_counted(arrays)}; `config.json` is the config that"
        " the run was trained with. Frozen networks that other files hold are not in it: the config names them.",
        "```python\nimport orbax.checkpoint as ocp\n\n"
        'params = ocp.StandardCheckpointer().restore("/the/whole/path/of/params")\n```',
        "`config.init.checkpoint` of another run takes this folder.",
    )
    return _counted(arrays)


def _to_stablehlo(run: _Run, folder: Path) -> str:
    exports = run.experiment.exports
    if not exports:
        raise StoryjaxError(
            f"the experiment '{run.experiment.name}' names no function to export as StableHLO; --to safetensors and"
            " --to orbax write its parameters"
        )
    parameters = run.parameters()
    used: dict[str, Any] = {}
    functions = {}
    for name, export in exports.items():
        weights = {path: leaf for path, leaf in parameters.items() if re.fullmatch(export.uses, path)}
        used |= weights
        exported = lower(export, weights)
        (folder / f"{name}.stablehlo").write_bytes(_serialised(exported))
        functions[name] = _signature(name, export, exported, weights)
    _save(folder / "model.safetensors", used, run)
    signature = {
        "functions": functions,
        "weights": "model.safetensors",
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
    }
    (folder / "signature.json").write_text(json.dumps(signature, indent=2) + "\n")
    shutil.copyfile(Path(stablehlo_runner.__file__), folder / "run.py")
    lines = [f"- `{name}`: {export.about}" for name, export in exports.items()]
    _readme(
        folder,
        f"A trained {run.experiment.name} as StableHLO",
        "Functions that run with JAX alone (on CPU, GPU and TPU), without storyjax:",
        "\n".join(lines),
        "`signature.json` says the names, shapes and types of inputs and outputs; sizes that are letters are"
        f" free. `model.safetensors` has the weights, {_counted(used)}, which the functions take as inputs; `run.py`"
        " loads both:",
        "```python\nfrom run import load\n\n"
        f'function = load(".", "{next(iter(exports))}")\n'
        f"outputs = function({', '.join(f'{key}={key}' for key in next(iter(exports.values())).inputs)})\n```",
        f"Written with JAX {jax.__version__}. JAX reads such files for at least six months of later releases.",
    )
    return f"{', '.join(exports)} with {_counted(used)}"


def lower(export: Export, weights: Mapping[str, Any]) -> stablehlo.Exported:
    """Returns the function as StableHLO for PLATFORMS: (weights by path, inputs by name) -> outputs by name."""

    def function(weights: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        return export.function(unflatten(weights), **inputs)

    scope = stablehlo.SymbolicScope(export.constraints)
    inputs = {
        name: jax.ShapeDtypeStruct(stablehlo.symbolic_shape(given.shape, scope=scope), given.dtype)
        for name, given in export.inputs.items()
    }
    abstract = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in weights.items()}
    return stablehlo.export(jax.jit(function), platforms=PLATFORMS)(abstract, inputs)


def _serialised(exported: stablehlo.Exported) -> bytearray:
    try:
        return exported.serialize()
    except ImportError as error:
        raise StoryjaxError("--to stablehlo needs the package flatbuffers: pip install flatbuffers") from error


def _signature(name: str, export: Export, exported: stablehlo.Exported, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a function in signature.json."""
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)

    def described(shape: Any, dtype: Any, about: str) -> dict[str, Any]:
        sizes = [size if isinstance(size, int) else str(size) for size in shape]
        return {"shape": sizes, "dtype": np.dtype(dtype).name, "about": about}

    def shape_of(text: str) -> list[int | str]:
        return [int(size) if size.strip().isdigit() else size.strip() for size in text.split(",")]

    return {
        "file": f"{name}.stablehlo",
        "about": export.about,
        "inputs": {
            key: described(shape_of(given.shape), given.dtype, given.about) for key, given in export.inputs.items()
        },
        "outputs": {
            key: described(outputs[key].shape, outputs[key].dtype, about) for key, about in export.outputs.items()
        },
        "constraints": list(export.constraints),
        "weights": list(weights),
    }


FORMATS = {"safetensors": _to_safetensors, "orbax": _to_orbax, "stablehlo": _to_stablehlo}
