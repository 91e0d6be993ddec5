"""Where a run starts from, in this order: its own checkpoint, `config.init`, imported weights, scratch."""

import pathlib
import re
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten
from storyjax.train.checkpoint import Checkpoints, load_saved
from storyjax.train.experiment import Experiment, Params
from storyjax.train.params import initialise, matching, partition, refuse_drawn, validate_params
from storyjax.train.precision import get_policy
from storyjax.train.settings import Settings


@dataclass(frozen=True)
class InitialState:
    """Parameters on the mesh.

    Attributes:
        step: of the run's own checkpoint, where `trainable` is from it.
        init_gave_frozen: whether frozen parameters are from `config.init.checkpoint`; a resumption then needs it too.
        drawn: those frozen parameters that no file has (Experiment.drawn); checkpoints hold them.
    """

    trainable: Params
    frozen: Params
    step: int | None
    init_gave_frozen: bool
    drawn: Params


def restore_or_init(settings: Settings, experiment: Experiment, workdir: pathlib.Path, mesh: Mesh) -> InitialState:
    """The parameters that a run in `workdir` starts, goes on, or is evaluated with.

    Raises:
        StoryjaxError: a source holds another model's parameters (naming them), or is not there; or nothing gives
            frozen parameters that the experiment does not declare to be random.
    """
    key = jax.random.key(settings.seed)
    tree = jax.eval_shape(experiment.init, key)
    train_paths, frozen_paths = (set(flatten(part)) for part in partition(tree, experiment.trainable))
    drawn_paths = matching(frozen_paths, experiment.drawn)
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        # What has no trainable parameters has nothing in a checkpoint either.
        step = None if experiment.trainable is None else checkpoints.latest()
        given: dict[str, Any] = {}
        if experiment.pretrained is not None:
            given = dict(experiment.pretrained())
            validate_params(given, flatten(tree), set(), f"the pretrained weights of {experiment.name}")
        # The run's own checkpoint has the trainable parameters; the frozen ones are those that it was started with.
        init_gave_frozen = step is not None and checkpoints.meta(step)["init_gave_frozen"]
        if settings.init.checkpoint is not None and (step is None or init_gave_frozen):
            loaded = _load_init(settings.init.checkpoint, settings.init.skip, flatten(tree), train_paths)
            init_gave_frozen = not loaded.keys() <= train_paths | drawn_paths
            given |= loaded
        if step is not None:
            given |= checkpoints.drawn(step)
        refuse_drawn(given, frozen_paths, experiment.drawn, experiment.name, experiment.frozen_from)
        trainable, frozen = initialise(
            experiment.init, key, experiment.trainable, given, get_policy(settings.precision), mesh
        )
        if step is not None:
            trainable = checkpoints.restore_trainable(step, trainable)
    finally:
        checkpoints.close()
    drawn = unflatten({path: leaf for path, leaf in flatten(frozen).items() if path in drawn_paths})
    return InitialState(trainable, frozen, step, init_gave_frozen, drawn)


def _load_init(
    checkpoint: str, skip_pattern: str | None, abstract: dict[str, Any], train_paths: set[str]
) -> dict[str, Any]:
    """What `config.init` names: all of it must be the model's, and all trainable parameters must be in it."""
    try:
        skip = re.compile(skip_pattern or "(?!)")
    except re.error as error:
        raise StoryjaxError(f"config.init.skip '{skip_pattern}' does not parse: {error}.") from error
    loaded = load_saved(checkpoint)
    loaded = {path: array for path, array in loaded.items() if not skip.fullmatch(path)}
    needed = {path for path in train_paths if not skip.fullmatch(path)}
    validate_params(loaded, abstract, needed, checkpoint)
    return loaded
