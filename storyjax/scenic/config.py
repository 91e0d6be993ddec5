"""Scenic's config flag: `--config=storyjax/scenic/config.py:tcr_nextqa:embedded`.

`config.storyjax` is the config of configs/tcr_nextqa.py, and beside it are the keys that Scenic's programs read. These
are linked with ours: whichever is set, with `--config.batch_size=8` or `--config.storyjax.train.batch_size=8`, sets
both. What ours leaves open (steps, where a run's length is in epochs) is None.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from storyjax.core.config import load_config
from storyjax.train.settings import complete

# Scenic's key -> ours.
LINKS = {
    "rng_seed": "seed",
    "batch_size": "train.batch_size",
    "eval_batch_size": "eval.batch_size",
    "num_training_steps": "train.steps",
    "num_training_epochs": "train.epochs",
    "log_summary_steps": "log.every",
    "log_eval_steps": "eval.every",
    "checkpoint_steps": "checkpoint.every",
    "max_checkpoint_keep": "checkpoint.keep",
    "optimizer_configs.weight_decay": "optim.weight_decay",
    "optimizer_configs.b1": "optim.b1",
    "optimizer_configs.b2": "optim.b2",
    "optimizer_configs.eps": "optim.eps",
    "max_grad_norm": "optim.clip_norm",
    "lr_configs.base_learning_rate": "optim.learning_rate",
    "lr_configs.warmup_steps": "optim.warmup_steps",
    "lr_configs.total_steps": "train.steps",
}
# What Scenic's programs read besides.
_CONSTANTS = {
    "checkpoint": True,
    "model_name": "storyjax",
    "dataset_name": "storyjax",
    "trainer_name": "storyjax",  # or "classification_trainer" (zoo.py)
    "data_dtype_str": "float32",
    "count_flops": False,  # from a single array of pixels, which our models do not take; storyjax plan counts them
    "debug_train": False,
    "debug_eval": False,
    "xprof": False,
}
# Keys that a config may leave open, and what they take.
_OPEN = {"eval.batch_size": int, "train.steps": int, "train.epochs": float, "optim.clip_norm": float}


def get_config(spec: str) -> ConfigDict:
    """Returns the config of Scenic's programs.

    Args:
        spec: "NAME[:VARIANT]" or "FILE[:VARIANT]", as `storyjax train --config` takes it.

    Raises:
        StoryjaxError: there is no such config.
    """
    ours = complete(load_config(spec))
    config = ConfigDict({"experiment_name": spec, "storyjax": ours, **_CONSTANTS})
    config.lr_configs, config.optimizer_configs = ConfigDict(), ConfigDict({"optimizer": "adamw"})
    for theirs, path in LINKS.items():
        section, key = _place(config.storyjax, path)
        if section[key] is None:
            with section.unlocked(), section.ignore_type():
                section[key] = placeholder(_OPEN[path])
        group, name = _place(config, theirs)
        group[name] = section.get_ref(key)
    return config


def _place(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The section and the key of a dotted path."""
    section, _, key = path.rpartition(".")
    return (config[section] if section else config), key
