"""What a chapter gives to the one loop: how to initialise, what trains, the losses with their data, the evaluators.

A chapter has no trainer. Its `config.py` has `build(config) -> Experiment`, and everything else (resume, sharding,
accumulation over tasks as in §3.6.2, logging) is a property of the loop.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import Stream, StreamSpec

# A nested dict of arrays; the top level holds module names, e.g. {"vision": ..., "tcr": ..., "llm": ...}.
Params = dict[str, Any]
# Arrays with the same leading dimension, the examples.
Batch = dict[str, Any]
# (whole parameter tree, batch, key) -> (loss, further scalars to log). The loss is a mean over the batch's examples.
LossFn = Callable[[Params, Batch, jax.Array], tuple[Float[Array, ""], dict[str, Float[Array, ""]]]]


@dataclass(frozen=True)
class BatchSpec:
    """What `storyjax plan` needs to know of a batch before there is any data. Both are functions of its examples.

    Attributes:
        shapes: the arrays that the loss or evaluation takes, as jax.ShapeDtypeStructs.
        features: bytes of features that are kept of the batch from one pass over it to the next, on all devices.
    """

    shapes: Callable[[int], Batch]
    features: Callable[[int], int] = lambda examples: 0

    @classmethod
    def of_rows(cls, leaves: Mapping[str, tuple[tuple[int, ...], Any]]) -> "BatchSpec":
        """Returns the spec of batches of {name: (shape of one example, type)}."""
        rows = dict(leaves)
        return cls(
            lambda examples: {
                name: jax.ShapeDtypeStruct((examples, *shape), dtype) for name, (shape, dtype) in rows.items()
            }
        )


@dataclass(frozen=True)
class Task:
    """A loss with its data. Several tasks train together: the gradients of weight * loss are summed (§3.6.2)."""

    name: str
    data: Callable[[StreamSpec], Stream]
    loss: LossFn
    weight: float = 1.0
    batch_size: int | None = None  # None: config.train.batch_size
    sequences: tuple[str, ...] = ()  # entries of a batch whose second dimension is cut along the mesh axis `seq`
    batch_spec: "BatchSpec | None" = None


@dataclass(frozen=True)
class Evaluator:
    """A metric over a finite data set.

    Attributes:
        name: for messages and the progress bar.
        data: finite batches; the last one is padded and carries its own mask.
        eval_step: (params, batch) -> pytree of arrays; runs under `jit` over the global batch.
        accumulate: (acc or None, eval_step's result as numpy, batch) -> acc.
        compute: acc -> {"dataset/metric": number}.
        sequences, batch_spec: as those of a Task; of an evaluator whose batches are of several kinds, one for each.
        reads_batch: whether `accumulate` looks at the batch; if not, many processes need not send it to each other.
        size: returns how many examples `data` gives in all, without the filling of the last batch. None: not counted.
        ratios: of an evaluator whose metrics are ratios of sums: the sum of eval_step's results over all batches ->
            {"dataset/metric": (numerator, denominator)}, linear in it, and traceable. None: its metrics are not.
    """

    name: str
    data: Callable[[StreamSpec], Iterable[Batch]]
    eval_step: Callable[[Params, Batch], Any]
    accumulate: Callable[[Any, Any, Batch], Any]
    compute: Callable[[Any], dict[str, float]]
    sequences: tuple[str, ...] = ()
    batch_spec: "BatchSpec | Mapping[str, BatchSpec] | None" = None
    reads_batch: bool = True
    size: Callable[[], int] | None = None
    ratios: Callable[[Any], Mapping[str, tuple[Any, Any]]] | None = None


@dataclass(frozen=True)
class HostEvaluator:
    """A metric that Python computes with the parameters, such as a tracker's, which looks at one frame after another.

    Every process computes it in full, with the whole parameters in its own memory.

    Attributes:
        name: for messages and the progress bar.
        run: (whole parameter tree of numpy arrays, what to call after each part of the work) -> {"dataset/metric":
            number}. What that call raises ends the evaluation.
        programs: what `storyjax plan` compiles of it, by name: (parameters, inputs) -> outputs, and its inputs, whose
            leading dimension is 1. None: nothing of it runs on devices, or not as one program.
    """

    name: str
    run: Callable[[Params, Callable[[], None]], dict[str, float]]
    programs: "Callable[[], Mapping[str, tuple[Callable[[Params, Batch], Any], BatchSpec]]] | None" = None


# What is predicted of examples, as JSON holds it.
Rows = list[Any]


@dataclass(frozen=True)
class BatchPrediction:
    """What a model predicts of a data set in batches, as the files of its challenge (`--mode=predict`).

    Nothing of it needs labels.

    Attributes:
        name: of the data set, for messages and files.
        data: finite batches; the last one is padded and carries its own mask.
        step: (params, batch) -> pytree of arrays; runs under `jit` over the global batch.
        rows: (step's result as numpy, batch) -> the rows of its examples.
        files: all rows, in order -> the text of each file by its name.
        reads: the entries of a batch that `rows` looks at.
        sequences: as those of a Task.
    """

    name: str
    data: Callable[[StreamSpec], Iterable[Batch]]
    step: Callable[[Params, Batch], Any]
    rows: Callable[[Any, Batch], Rows]
    files: Callable[[Rows], Mapping[str, str]]
    reads: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostPrediction:
    """What Python predicts with the parameters, unit by unit: a tracker's sequences, for instance.

    Attributes:
        name, files: as those of a BatchPrediction.
        units: returns how many units there are.
        predict: whole parameter tree of numpy arrays -> (number of a unit -> its rows).
    """

    name: str
    units: Callable[[], int]
    predict: Callable[[Params], Callable[[int], Rows]]
    files: Callable[[Rows], Mapping[str, str]]


def summing_evaluator(
    name: str,
    data: Callable[[StreamSpec], Iterable[Batch]],
    eval_step: Callable[[Params, Batch], dict[str, Array]],
    compute: Callable[[dict[str, Any]], dict[str, float]],
    **further: Any,
) -> Evaluator:
    """An evaluator whose measurements are (masked) sums: they are added up in float64 and given to `compute`.

    `further` are fields of Evaluator.
    """

    def accumulate(acc: Any, measured: Any, batch: Batch) -> Any:
        del batch
        measured = {key: np.asarray(value, np.float64) for key, value in measured.items()}
        return measured if acc is None else {key: acc[key] + measured[key] for key in measured}

    return Evaluator(name, data, eval_step, accumulate, compute, reads_batch=False, **further)


@dataclass(frozen=True)
class Input:
    """An input of an exported function.

    Attributes:
        shape: as `jax.export.symbolic_shape` reads it: "b, t, 64, 64, 3" leaves the sizes b and t open.
        dtype: of its numbers.
        about: what it is, with its unit, for whoever calls the function.
    """

    shape: str
    dtype: Any
    about: str


@dataclass(frozen=True)
class Export:
    """A function of the model that `storyjax export --to stablehlo` writes, to be run where JAX is and storyjax is not.

    Attributes:
        function: (params, **inputs) -> {name: array}; params are the whole tree's, but only what `uses` matches.
        about: what it does, in a sentence.
        inputs: by name. Open sizes of one name are the same size.
        outputs: by name, what each is.
        uses: a regular expression of the parameter paths that it needs.
        constraints: on open sizes, as `jax.export.SymbolicScope` reads them: "l <= 64".
    """

    function: Callable[..., dict[str, Array]]
    about: str
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    uses: str = ".*"
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Everything the loop needs to know of a chapter.

    Attributes:
        name: the chapter's.
        init: key -> the whole parameter tree; traced by `jit` and `eval_shape`.
        trainable: a regular expression; parameters whose whole path ("tcr/block_0/kernel") matches train, all others
            are frozen: no gradient, no optimiser slot, not in checkpoints. None: all are frozen.
        tasks: the losses with their data; without any, a run only evaluates.
        evaluators: run every config.eval.every steps and at the end.
        pretrained: imported weights, flat {"a/b/c": array}, laid over `init`; an unknown key or a wrong shape is an
            error. An array may be one that is read from its file where NumPy asks for it (weights.tensor_files).
        drawn: a regular expression of the frozen parameters that are random on purpose. They start at what `init`
            draws, unless they are given, and are saved with the run's checkpoints, since no file has them. All other
            frozen parameters must be given: by `pretrained` or by `config.init.checkpoint`.
        frozen_from: where the frozen parameters come from, for the message if they are not given: it says which key of
            the config to set, and how to get what it names.
        units: what an example is, for the rate in the progress bar.
        steps_per_epoch: called when config.train.epochs sets the length of the run.
        exports: functions of the model for other programs, by name.
        predictions: the files of challenges that `--mode=predict` writes.
        files: what writes further files of a run, by their names: called with the path, once, before the first step.
            Exports as safetensors have them too.
        prepare: prepares all records that training and evaluation read, and returns how many there are by
            "DATASET:SPLIT"; None where data are read as they are.
    """

    name: str
    init: Callable[[jax.Array], Params]
    trainable: str | None
    tasks: tuple[Task, ...] = ()
    evaluators: tuple[Evaluator | HostEvaluator, ...] = ()
    pretrained: Callable[[], dict[str, Any]] | None = None
    drawn: str | None = None
    frozen_from: str = "name them by config.model's weights, or start from a run that has them (config.init.checkpoint)"
    units: str = "examples"
    steps_per_epoch: Callable[[], int] | None = None
    exports: Mapping[str, Export] = field(default_factory=dict)
    predictions: tuple[BatchPrediction | HostPrediction, ...] = ()
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    prepare: Callable[[], Mapping[str, int]] | None = None

    def __post_init__(self) -> None:
        if self.tasks and self.trainable is None:
            raise ValueError(f"{self.name}: tasks need trainable parameters")
        for kind, members in (("task", self.tasks), ("evaluator", self.evaluators)):
            names = [member.name for member in members]
            if len(set(names)) < len(names):
                raise ValueError(f"{self.name}: every {kind} needs a name of its own, not {names}")


def build_experiment(config: ConfigDict) -> Experiment:
    """Returns the experiment that `config.experiment` names: "tcr" is storyjax.tcr.experiment, for instance.

    Raises:
        StoryjaxError: there is no such module; the nearest is named.
    """
    parts = config.experiment.replace("/", ".").split(".")
    for depth in range(len(parts)):
        package = importlib.import_module(".".join(["storyjax", *parts[:depth]]))
        known = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", []))]
        choose(parts[depth], known, "config.experiment")
    module = importlib.import_module(".".join(["storyjax", *parts]))
    if hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.experiment"):
        module = importlib.import_module(f"{module.__name__}.experiment")
    if not hasattr(module, "build"):
        raise StoryjaxError(f"config.experiment: {module.__name__} has no function build(config) -> Experiment.")
    return module.build(config)
