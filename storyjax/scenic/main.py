"""Scenic's program for storyjax:

    python -m storyjax.scenic.main --config=storyjax/scenic/config.py:tcr_nextqa:embedded --workdir=DIR

With --config.trainer_name=classification_trainer Scenic's own trainer trains, where the experiment fits it (zoo.py).
Flags, random key, working directory and writer are those of `scenic.app`; `--config.KEY=VALUE` sets Scenic's keys, and
`--config.storyjax.KEY=VALUE` ours.
"""

from typing import Any

from storyjax.core.runtime import prepare_runtime
from storyjax.main import leave, report_errors

TRAINERS = ("storyjax", "classification_trainer")


def main(rng: Any, config: Any, workdir: str, writer: Any) -> None:
    """Trains what the config says, as Scenic's launcher calls it."""
    from storyjax.core.config import choose
    from storyjax.scenic import zoo
    from storyjax.scenic.train import train
    from storyjax.train.termination import Stopped

    choose(config.trainer_name, TRAINERS, "config.trainer_name")
    if config.trainer_name == zoo.TRAINER:
        zoo.train(rng=rng, config=config, workdir=workdir, writer=writer)
        return
    try:
        train(rng=rng, config=config, workdir=workdir, writer=writer)
    except Stopped as stopped:
        print(f"storyjax: {stopped.message}")


def launch() -> int:
    """Runs the command line under Scenic and returns the exit code."""
    from storyjax.scenic import require

    require()
    prepare_runtime()
    from absl import app as absl_app
    from absl import flags
    from scenic import app

    from storyjax.train.distributed import start_distributed
    from storyjax.train.settings import read_settings

    def join() -> None:  # before Scenic's launcher asks for the devices
        start_distributed(read_settings(flags.FLAGS.config.storyjax).distributed)

    absl_app.call_after_init(join)
    try:
        app.run(main=main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    leave(report_errors(launch, "interrupted; the same command resumes from the latest checkpoint"))
