"""`python compare_with_scenic.py`: a line of JSON about a checkout of Scenic, beside storyjax's own numbers."""

import importlib
import inspect
import json
import sys
from typing import Any

import jax
import numpy as np
from test_zoo import SIGNATURES

from storyjax.nn.boxes import pairwise_giou, to_centres
from storyjax.nn.deformable_attention import deformable_attention
from storyjax.scenic.zoo import learning_rate
from storyjax.train.optim import make_schedule
from storyjax.train.settings import OptimSettings

SHAPES = ((5, 7), (3, 4))


def signatures() -> dict[str, str]:
    found = {}
    for name in SIGNATURES:
        module, _, path = name.partition(":")
        there: Any = importlib.import_module(f"scenic.{module}")
        for part in path.split("."):
            there = getattr(there, part)
        found[name] = " ".join(inspect.signature(there).parameters)
    return found


def attention() -> float:
    """The largest difference of sampled sums; ours are (b q (h d)), Scenic's ((b h) q d)."""
    from scenic.projects.baselines.deformable_detr.attention import deform_attn_sampling_fn

    rng = np.random.default_rng(0)
    b, n, h, d, q, levels, points = 2, 47, 2, 4, 9, 2, 3
    values = rng.normal(size=(b, n, h, d)).astype(np.float32)
    locations = rng.uniform(-0.2, 1.2, size=(b, q, h, levels, points, 2)).astype(np.float32)
    weights = rng.uniform(size=(b, q, h, levels, points)).astype(np.float32)
    theirs = deform_attn_sampling_fn(
        values.transpose(0, 2, 1, 3).reshape(b * h, n, d),
        locations.transpose(0, 2, 3, 4, 1, 5).reshape(b * h, levels, points * q, 2),
        weights.transpose(0, 2, 1, 3, 4).reshape(b * h, q, levels * points),
        SHAPES,
        False,
        "auto",
    )
    ours = deformable_attention(values, locations, weights, SHAPES).reshape(b, q, h, d).transpose(0, 2, 1, 3)
    return float(np.abs(np.asarray(ours) - np.asarray(theirs).reshape(b, h, q, d)).max())


def boxes() -> float:
    """The largest difference of generalised IoU."""
    from scenic.model_lib.base_models.box_utils import generalized_box_iou

    rng = np.random.default_rng(1)
    sets = [rng.uniform(0.05, 0.9, size=(2, count, 4)).astype(np.float32) for count in (7, 5)]
    corners = [np.concatenate([one[..., :2], one[..., :2] + one[..., 2:]], axis=-1) for one in sets]
    ours = pairwise_giou(*(to_centres(one) for one in corners))
    return float(np.abs(ours - generalized_box_iou(*corners)).max())


def schedules() -> dict[str, float]:
    """The largest difference of the learning rate after warm-up, relative to its peak, of each schedule."""
    from ml_collections import ConfigDict
    from scenic.train_lib.lr_schedules import get_learning_rate_fn

    found = {}
    for name in ("constant", "cosine", "linear", "step"):
        optim = OptimSettings(
            learning_rate=0.01, schedule=name, warmup_steps=5, final_scale=0.1, boundaries=(0.333, 0.75)
        )
        theirs, ours = (
            get_learning_rate_fn(ConfigDict({"lr_configs": learning_rate(optim, 40)})),
            make_schedule(optim, 40),
        )
        found[name] = max(abs(float(theirs(step)) - float(ours(step))) for step in range(5, 40)) / 0.01
    return found


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    found = {"signatures": signatures(), "attention": attention(), "giou": boxes(), "schedules": schedules()}
    sys.stdout.write(json.dumps(found) + "\n")
