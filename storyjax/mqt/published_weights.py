"""`config.model.weights`: what of a published network an MQT starts from, and what of it stays as published.

| imported by `storyjax import` | parameters that an MQT takes | what it leaves |
|---|---|---|
| resnet-50 | the backbone | nothing |
| deformable-detr-r50, deformable-detr-r50-refine | the pyramid with the backbone, encoder, decoder with the box \
heads, reference points, and the queries if the MQT has as many det queries | the class heads |

The backbone's norms and first layers stay frozen (config.trainable), and no checkpoint holds them: every stage of
§2.6.1 names the same weights, and is refused if it goes on from a run that named others.
"""

import functools
import json
import logging
from pathlib import Path

import jax
import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, listed, load_flat, weights_folder
from storyjax.mqt.config import init_parameters
from storyjax.mqt.model import Mqt, MqtConfig

FROM = (
    "config.model.weights names their folder: 'storyjax import resnet-50 --from microsoft/resnet-50 --out"
    " weights/resnet-50' makes the backbone's, and every stage names those that the first one began with"
)
_LOG = logging.getLogger(__name__)
# Modules that are taken whole or not at all.
_PARTS = ("pyramid/backbone/", "pyramid/", "encoder/", "decoder/", "reference/")


def published_parameters(folder: str, model: Mqt) -> dict[str, np.ndarray]:
    """Returns the parameters, by path, of an imported detector or an imported ResNet that an MQT has too.

    Raises:
        StoryjaxError: nothing is there, it has none of them, it covers only a part of a module, or it is of another
            architecture.
    """
    path = Path(folder)
    if not path.exists():
        raise StoryjaxError(
            f"config.model.weights: {path} is not there; make it with `storyjax import deformable-detr` or `storyjax"
            " import resnet-50`, or use the config's ':embedded'"
        )
    flat = load_flat(path / "model.safetensors" if path.is_dir() else path)
    flat = {f"pyramid/{name}" if name.startswith("backbone/") else name: array for name, array in flat.items()}
    own = _shapes(model.config)
    found = {name: array for name, array in flat.items() if name.startswith(_PARTS)}
    if not found:
        raise StoryjaxError(f"config.model.weights: {path} holds neither a Deformable DETR nor a ResNet of storyjax")
    _refuse_other(path, found, own)
    if "queries" in flat and flat["queries"].shape == own["queries"].shape:
        found["queries"] = flat["queries"]
    if unused := sorted({name.partition("/")[0] for name in flat.keys() - found.keys()}):
        _LOG.warning("%s: %d of its %d arrays start the MQT; unused: %s", path, len(found), len(flat), listed(unused))
    return found


@functools.cache
def _shapes(config: MqtConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Every parameter of an MQT by path."""
    return flatten(jax.eval_shape(lambda key: init_parameters(Mqt(config), (64, 64), key), jax.random.key(0)))


def _refuse_other(path: Path, found: dict[str, np.ndarray], own: dict[str, jax.ShapeDtypeStruct]) -> None:
    """A StoryjaxError where what was found is not that of `own`, or covers only a part of a module."""
    other = [
        f"{name} {tuple(array.shape)} for {tuple(own[name].shape) if name in own else 'nothing'}"
        for name, array in found.items()
        if name not in own or tuple(array.shape) != tuple(own[name].shape)
    ]
    if other:
        raise StoryjaxError(
            f"config.model.weights: {path} is of another architecture than config.model.mqt.detr in {len(other)}"
            f" arrays: {listed(other)}; the ':detr' variants of the configs have the published one's"
        )
    for part in _PARTS:
        whole = {name for name in own if name.startswith(part)}
        lacking = whole - found.keys()
        if len(lacking) < len(whole) and lacking and not (part == "pyramid/" and _is_backbone(found)):
            raise StoryjaxError(
                f"config.model.weights: {path} covers only a part of {part.rstrip('/')}: {len(lacking)} of its"
                f" {len(whole)} arrays are missing ({listed(list(lacking))}); import it again"
            )


def _is_backbone(found: dict[str, np.ndarray]) -> bool:
    """Whether it is a ResNet alone, which has no more of the pyramid."""
    return all(name.startswith("pyramid/backbone/") for name in found)


def refuse_other_weights(weights: str, checkpoint: str) -> None:
    """Refuses a stage that goes on from a run with other frozen parameters than its own.

    Args:
        weights: `config.model.weights`.
        checkpoint: `config.init.checkpoint`; where no config says what it began with, nothing is refused.

    Raises:
        StoryjaxError: the names of the two folders of weights differ.
    """
    try:
        stored = json.loads((weights_folder(checkpoint) / "config.json").read_text("utf-8"))
        theirs = stored["model"]["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if theirs is not None and Path(theirs).name != Path(weights).name:
        raise StoryjaxError(
            f"config.init.checkpoint: {checkpoint} was trained on the frozen layers of {theirs}, and this config names"
            f" those of {weights}: give --config.model.weights={theirs}, or use the ':detr' variant for both or neither"
        )
