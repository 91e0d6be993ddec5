"""An MQT so small that it compiles in seconds, and what goes into it."""

from typing import Any

import jax
import numpy as np

from storyjax.models.deformable_detr import DeformableDetrConfig
from storyjax.models.resnet import ResNetConfig
from storyjax.mqt.config import init_parameters
from storyjax.mqt.model import Mqt, MqtConfig

SIZE = (32, 48)
BACKBONE = ResNetConfig(stem_width=8, widths=(8, 8), depths=(1, 1), block="basic", outputs=(0, 1), norm="group")
DETR = DeformableDetrConfig(
    backbone=BACKBONE,
    width=16,
    mlp_width=16,
    encoder_layers=1,
    decoder_layers=1,
    heads=2,
    points=2,
    levels=2,
    queries=6,
    classes=0,
    box_refine=True,
    dropout=0.0,
    groups=2,
    size_bias=0.0,
)


def make(**options: Any) -> tuple[Mqt, dict[str, Any]]:
    """A model and its parameters, away from where training starts: offsets, gates and boxes do something."""
    model = Mqt(MqtConfig(**{"detr": DETR, "isolate_det": True, **options}))
    params = jax.jit(lambda key: init_parameters(model, SIZE, key))(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    moved = [leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return model, jax.tree.unflatten(tree, moved)


def pairs(examples: int = 2, objects: int = 4) -> dict[str, np.ndarray]:
    """A batch as PairLoader gives it, with objects that come and go; the last row is padding everywhere."""
    rng = np.random.default_rng(0)
    present0, present1 = rng.random((2, examples, objects)) < 0.8
    present0[:, 0], present1[:, 0] = True, True
    present0[:, -1], present1[:, -1] = False, False
    centres, sizes = rng.uniform(0.2, 0.8, (2, examples, objects, 2)), rng.uniform(0.1, 0.3, (2, examples, objects, 2))
    boxes = np.concatenate([centres, sizes], axis=-1).astype(np.float32)
    images = rng.integers(0, 256, (2, examples, *SIZE, 3), dtype=np.uint8)
    return {
        "images0": images[0],
        "images1": images[1],
        "boxes0": np.where(present0[..., None], boxes[0], 0).astype(np.float32),
        "boxes1": np.where(present1[..., None], boxes[1], 0).astype(np.float32),
        "present0": present0,
        "present1": present1,
        "kind": np.zeros((examples, objects), np.int32),
    }
