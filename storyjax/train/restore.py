"""From the name of a trained model to its config and parameters: what every predictor loads with.

A place is a run's workdir, a folder with config.json and model.safetensors, or "shipped:NAME", a model that comes with
the package. Its config may have been written by an earlier version (storyjax/core/renames.py).
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten, weights_folder
from storyjax.core.renames import modernise
from storyjax.train.checkpoint import load_saved, saved_config
from storyjax.train.experiment import Params
from storyjax.train.params import partition, validate_params
from storyjax.train.precision import Policy, get_policy


@dataclass(frozen=True)
class TrainedModel:
    """A trained model on disk.

    Attributes:
        source: what it was asked for by, for messages.
        folder: where it lies.
        config: of the run, with today's names; sections that a shipped model leaves out are empty.
        policy: the precision that it computes and lies in memory with.
    """

    source: str
    folder: Path
    config: ConfigDict
    policy: Policy

    def parameters(self, init: Callable[[jax.Array], Params], trainable: str, pretrained: Mapping[str, Any]) -> Params:
        """Returns the whole parameter tree, on the default device.

        Args:
            init: of the model, traced only.
            trainable: the pattern of the parameters that training changes; they stay float32 under every policy.
            pretrained: the frozen networks' parameters by path ("vision/..."), read where they are needed.

        Raises:
            StoryjaxError: parameters are missing, unknown or of another shape; the message lists them.
        """
        tree = jax.eval_shape(init, jax.random.key(0))
        trains = flatten(partition(tree, trainable)[0])
        return in_memory(dict(pretrained) | load_saved(self.folder), tree, trains, self.policy, self.source)


def in_memory(given: Mapping[str, Any], tree: Params, trains: Collection[str], policy: Policy, source: str) -> Params:
    """Returns the whole parameter tree, on the default device, each parameter read when it is placed.

    Args:
        given: all parameters by path; those in files are read where NumPy asks for them.
        tree: of shapes.
        trains: the paths of those that are trained, which are float32 under every policy.
        policy: the types of the others.
        source: of the parameters, for messages.

    Raises:
        StoryjaxError: parameters are missing, unknown or of another shape; the message lists them.
    """
    abstract = flatten(tree)
    validate_params(given, abstract, set(abstract), source)
    return unflatten(
        {
            path: jnp.asarray(
                np.asarray(given[path]), policy.parameter_dtype(leaf.dtype, trains=path in trains, path=path)
            )
            for path, leaf in abstract.items()
        }
    )


def open_trained(
    place: str | os.PathLike[str] | None,
    *,
    default: str,
    chapter: str,
    experiments: tuple[str, ...],
    parts: tuple[str, ...],
    precision: str | None = None,
) -> TrainedModel:
    """Returns the trained model at `place`; nothing but its config is read.

    Args:
        place: see the module; None stands for `default`.
        default: the model that comes with the package.
        chapter: what the model should be, for messages: "TCR".
        experiments: the values of `config.experiment` that the caller can use.
        parts: keys that the model's section has; a config without `experiment` is known by them.
        precision: the name of a policy instead of the config's own.

    Raises:
        StoryjaxError: there is no config.json at `place`, it cannot be read, or it is of another experiment.
    """
    source = str(default if place is None else place)
    stored = read_config(source, chapter, f"'{default}'")
    model, named = stored["model"], stored.get("experiment", experiments[0])
    if not isinstance(model, dict) or named not in experiments or not set(parts) <= set(model):
        what = named if named not in experiments else "a model of " + (", ".join(model or ()) or "no parts")
        raise StoryjaxError(f"{source} holds {what}, which is not a {chapter}; name a run's workdir or '{default}'")
    config = ConfigDict({"data": {}, **stored})
    return TrainedModel(source, _folder(source), config, get_policy(precision or config.get("precision", "float32")))


def _folder(source: str) -> Path:
    folder = weights_folder(source)
    return folder.parent if folder.suffix == ".safetensors" else folder


def read_config(source: str, what: str, others: str) -> dict[str, Any]:
    """Returns the config of the trained model that `source` names, with today's names and a section "model".

    Args:
        what, others: for the message: what was looked for, and what else could be named.

    Raises:
        StoryjaxError: there is no config.json, or it is no JSON object.
    """
    path = _folder(source) / "config.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        stored = saved_config(path.parent)  # of a run, whose checkpoints have it too
        if stored is None:
            raise StoryjaxError(
                f"{source} is no trained {what}: {path} cannot be read ({error}); name a run's workdir or {others}"
            ) from error
    if not isinstance(stored, dict):
        raise StoryjaxError(f"{source} is no trained {what}: {path} holds no JSON object")
    stored = modernise(stored)
    return stored if "model" in stored else {"model": stored}


def chapter_of(place: str | os.PathLike[str], chapters: Collection[str]) -> str:
    """Returns which of `chapters` the trained model at `place` is of: the first part of its `config.experiment`.

    Raises:
        StoryjaxError: there is no model, or it is of none of them.
    """
    source = os.fspath(place)
    stored = read_config(source, "model", " or ".join(chapters))
    name = str(stored.get("experiment", "")).partition(".")[0]
    parts = set(stored.get("model", ()))
    if not name:  # some shipped models say the model alone
        known = {
            "tcr": {"vision", "llm", "tcr"},
            "clip_pad": {"clip", "face"},
            "pi_map": {"clip", "pi"},
            "mqt": {"mqt"},
        }
        name = next((chapter for chapter, keys in known.items() if keys <= parts), "")
    if name not in chapters:
        raise StoryjaxError(f"{source} holds {name or 'another model'}, none of {', '.join(chapters)}")
    return name
