"""A toy experiment: a student network learns what a frozen random network does, from two tasks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Evaluator, Experiment, Task, summing_evaluator
from storyjax.train.initial_state import restore_or_init
from storyjax.train.mesh import make_mesh
from storyjax.train.params import merge
from storyjax.train.settings import complete, read_settings

WIDTH = 48
VARIANTS = ("paper", "embedded")
Hook = Callable[[int], None]


def init(key: jax.Array) -> dict[str, Any]:
    # One draw for all, because compiling draws is most of what a toy run costs.
    draw = jax.random.uniform(key, (WIDTH * (WIDTH + 6) + 8,), minval=-1.7, maxval=1.7)
    teacher, hidden, out, middle = jnp.split(draw, [8, 8 + 4 * WIDTH, 8 + 6 * WIDTH])
    return {
        # The memory only lies there: something frozen that is large enough to be cut over devices.
        "teacher": {"kernel": teacher.reshape(4, 2), "memory": jnp.zeros((WIDTH, WIDTH))},
        "student": {
            "hidden": {"kernel": 0.5 * hidden.reshape(4, WIDTH), "bias": jnp.zeros(WIDTH)},
            "middle": {"kernel": middle.reshape(WIDTH, WIDTH) / WIDTH**0.5},
            "out": {"kernel": 0.1 * out.reshape(WIDTH, 2)},
        },
    }


def outputs(params: dict[str, Any], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(student's, teacher's): both (b, 2)."""
    hidden = params["student"]["hidden"]
    h = jnp.tanh(x @ hidden["kernel"] + hidden["bias"][None])
    y = jnp.tanh(h @ params["student"]["middle"]["kernel"]) @ params["student"]["out"]["kernel"]
    return y, x @ params["teacher"]["kernel"].astype(jnp.float32)


def loss(column: int, noise: float) -> Callable[..., Any]:
    def of_column(
        params: dict[str, Any], batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        y, target = outputs(params, batch["x"])
        y = y + noise * jax.random.uniform(key, y.shape)
        return jnp.mean(jnp.square(y - target)[:, column]), {"mean": jnp.mean(y)}

    return of_column


def part(spec: StreamSpec) -> slice:
    """This process's rows of a batch."""
    rows = spec.batch_size // spec.process_count
    return slice(spec.process_index * rows, (spec.process_index + 1) * rows)


class ToyStream:
    """Batches drawn from (seed, step); `hook(step)` may kill the process or spoil the batch."""

    def __init__(self, spec: StreamSpec, hook: Hook | None = None, nan_at: int | None = None) -> None:
        self.spec, self.hook, self.nan_at, self.closed, self.seen = spec, hook, nan_at, False, 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        step = self.spec.start_step
        while True:
            if self.hook is not None:
                self.hook(step)
            draw = np.random.default_rng([self.spec.seed, step])
            x = draw.normal(size=(self.spec.batch_size, 4)).astype(np.float32)
            index = np.arange(self.spec.batch_size) + step * self.spec.batch_size
            if step == self.nan_at:
                x[1] = np.nan
            share = part(self.spec)
            self.seen += len(x[share])
            yield {"x": x[share], "index": index[share]}
            step += 1

    def report(self) -> dict[str, Any]:
        return {"seen": self.seen, "broken": 0}

    def close(self) -> None:
        self.closed = True


def evaluator(hook: Hook | None = None) -> Evaluator:
    def data(spec: StreamSpec) -> Iterator[dict[str, np.ndarray]]:
        for batch in range(3):
            if hook is not None:
                hook(batch)
            x = np.random.default_rng([7, batch]).normal(size=(spec.batch_size, 4)).astype(np.float32)
            valid = np.arange(spec.batch_size) < (spec.batch_size if batch < 2 else 1)
            share = part(spec)
            yield {"x": x[share], "valid": valid[share]}

    def eval_step(params: dict[str, Any], batch: dict[str, Any]) -> dict[str, jax.Array]:
        y, target = outputs(params, batch["x"])
        error = jnp.mean(jnp.square(y - target), axis=1) * batch["valid"]
        return {"error": error.sum(), "count": batch["valid"].sum()}

    return summing_evaluator("toy", data, eval_step, lambda sums: {"toy/mse": sums["error"] / sums["count"]})


def experiment(
    data_hook: Hook | None = None, eval_hook: Hook | None = None, nan_at: int | None = None, **changes: Any
) -> Experiment:
    tasks = (
        Task("left", lambda spec: ToyStream(spec, data_hook), loss(0, noise=0.1)),
        Task("right", lambda spec: ToyStream(spec, nan_at=nan_at), loss(1, noise=0.0), weight=0.5),
    )
    fields = {
        "name": "toy",
        "init": init,
        "trainable": "student/.*",
        "drawn": "teacher/.*",
        "tasks": tasks,
        "evaluators": (evaluator(eval_hook),),
        "steps_per_epoch": lambda: 4,
        "units": "toys",
    }
    return Experiment(**{**fields, **changes})


def config(steps: int = 6, **sections: dict[str, Any]) -> ConfigDict:
    return ConfigDict(
        {
            "experiment": "toy",
            "seed": 3,
            "model": {"width": WIDTH},
            "train": {"steps": steps, "batch_size": 8} | sections.pop("train", {}),
            "optim": {"learning_rate": 0.01, "warmup_steps": 2} | sections.pop("optim", {}),
            "log": {"every": 1, "tensorboard": False} | sections.pop("log", {}),
            **sections,
        }
    )


def get_config(variant: str = "paper") -> ConfigDict:
    """As the files of configs/ have it, so that the toy can be given to `--config`."""
    sizes = {"paper": 12, "embedded": 6}
    return config(sizes[variant], checkpoint={"every": 2}, eval={"every": 3}, data={"root": None})


def load_params(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """The whole parameter tree that `run(config, workdir, "eval")` evaluates."""
    settings = read_settings(complete(config))
    start = restore_or_init(settings, experiment(), workdir, make_mesh(settings.mesh))
    return merge(start.trainable, start.frozen)
