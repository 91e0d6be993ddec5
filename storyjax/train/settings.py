"""The config sections that the loop reads, with their defaults; `model` and `data` belong to the chapter."""

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError, nearest


@dataclass(frozen=True)
class TrainSettings:
    """The length of a run and the size of its batches."""

    steps: int | None = None  # the length of the run; where it is given, `epochs` is not looked at
    epochs: float | None = None  # the same in passes over the data (Experiment.steps_per_epoch)
    batch_size: int = 32  # global, over all processes
    accumulate: int = 1  # micro-batches that a batch is cut into, to fit memory
    stop_metric: str | None = None  # the run ends early, at an evaluation where this metric ...
    stop_value: float = 1.0  # ... has reached this value


@dataclass(frozen=True)
class OptimSettings:
    """AdamW; the defaults are those of the thesis where it gives any (§3.6.2: AdamW, clip norm 1)."""

    learning_rate: float = 1e-4  # at its peak
    schedule: Literal["cosine", "constant", "step", "linear"] = "cosine"
    warmup_steps: int = 0
    final_scale: float = 0.0  # cosine and linear end at learning_rate * final_scale
    boundaries: tuple[float, ...] = (0.8,)  # step: fractions of the run at which the rate is multiplied by `decay`
    decay: float = 0.1
    weight_decay: float = 0.01  # on arrays of two or more dimensions
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0  # of the gradient over all trainable parameters; None: no clipping
    # (regular expression, factor): a parameter whose whole path matches learns at the rate times the factor; the first
    # that matches counts.
    lr_multipliers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class MeshSettings:
    """Devices along each axis; one axis may be -1, all that are left."""

    data: int = -1
    fsdp: int = 1
    seq: int = 1


@dataclass(frozen=True)
class DistributedSettings:
    """Processes of one run; each is started with the same command (storyjax/train/distributed.py)."""

    address: str = "auto"  # HOST:PORT of process 0; auto: TPU pods, Slurm steps and Open MPI jobs by themselves; off
    processes: int | None = None  # how many there are, and which one this is, from 0 on: with an address only
    process: int | None = None
    start_seconds: int = 300  # how long to wait for the others at the start
    heartbeat_seconds: int = 100  # a process that is silent for so long is taken for dead, and the others end


@dataclass(frozen=True)
class CheckpointSettings:
    """When the state is saved."""

    every: int = 1000  # steps; 0: only at the end
    keep: int = 2


@dataclass(frozen=True)
class EvalSettings:
    """When a run is evaluated."""

    every: int = 0  # steps; 0: only at the end
    batch_size: int | None = None  # None: train.batch_size


@dataclass(frozen=True)
class LogSettings:
    """When metrics are logged, and where to."""

    every: int = 10  # steps
    tensorboard: bool = True


@dataclass(frozen=True)
class InitSettings:
    """What trainable parameters start from."""

    checkpoint: str | None = None  # a run's workdir, safetensors, or shipped:NAME: where parameters start
    skip: str | None = None  # a regular expression of parameter paths that `checkpoint` neither gives nor must have


@dataclass(frozen=True)
class Settings:
    """All that the loop itself reads of a config."""

    experiment: str = ""
    seed: int = 0
    precision: Literal["float32", "bfloat16", "lavis", "lavis_bfloat16"] = "float32"  # see precision.py
    train: TrainSettings = field(default_factory=TrainSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    distributed: DistributedSettings = field(default_factory=DistributedSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    log: LogSettings = field(default_factory=LogSettings)
    init: InitSettings = field(default_factory=InitSettings)

    def __post_init__(self) -> None:
        positive = {
            "train.batch_size": self.train.batch_size,
            "train.accumulate": self.train.accumulate,
            "checkpoint.keep": self.checkpoint.keep,
            "log.every": self.log.every,
            "distributed.start_seconds": self.distributed.start_seconds,
            "distributed.heartbeat_seconds": self.distributed.heartbeat_seconds,
        }
        counts = {
            "train.steps": self.train.steps or 0,
            "train.epochs": self.train.epochs or 0,
            "eval.every": self.eval.every,
            "checkpoint.every": self.checkpoint.every,
            "optim.warmup_steps": self.optim.warmup_steps,
        }
        if self.train.stop_metric is not None and not self.eval.every:
            raise StoryjaxError("config.train.stop_metric is looked at in evaluations: set config.eval.every.")
        for key, value in {**positive, **counts}.items():
            if value < (1 if key in positive else 0):
                raise StoryjaxError(f"config.{key} is {value}; it must be at least {1 if key in positive else 0}.")


CHAPTER_SECTIONS = ("model", "data")


def read_settings(config: ConfigDict) -> Settings:
    """The loop's part of a config, checked.

    Raises:
        StoryjaxError: an unknown key anywhere but in the chapter's sections, or a value that does not fit.
    """
    own = [setting.name for setting in dataclasses.fields(Settings)]
    for key in config:
        if key not in (*own, *CHAPTER_SECTIONS):
            known = (*own, *CHAPTER_SECTIONS)
            raise StoryjaxError(f"config has no key '{key}'.{nearest(key, known)} Known: {', '.join(known)}.")
    return from_config(Settings, {key: config[key] for key in own if key in config})


def complete(config: ConfigDict) -> ConfigDict:
    """A copy of `config` with every key of the loop spelt out, so that each of them can be overridden and recorded.

    References between keys stay references: an override reaches whatever follows it.
    """
    settings = dataclasses.asdict(read_settings(config))
    config = copy.deepcopy(config)
    with config.unlocked(), config.ignore_type():
        _fill(config, settings)
    return config


def _fill(config: ConfigDict, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            if key not in config:
                config[key] = ConfigDict()
            with config[key].unlocked(), config[key].ignore_type():
                _fill(config[key], value)
        # A float that was written as an integer must take a float's override.
        elif key not in config or type(config[key]) is not type(value):
            config[key] = value
