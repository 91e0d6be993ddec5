"""`python toy_main.py EVENT ARGUMENTS...`: storyjax.main on the toy experiment, with something happening in mid-run.

The events strike once, at fixed moments, as a machine would: "kill-step" in loading the batch of step 5 (counted from
1), "kill-evaluation" in the second batch of an evaluation, "kill-checkpoint" right after the write of checkpoint 4
has begun, "term-step" and "term-evaluation" the same with SIGTERM, "full" lets no file grow beyond 6 kB from step 4 on.
"""

import os
import resource
import signal
import sys

import toy

from storyjax.main import leave, main
from storyjax.train import loop
from storyjax.train.checkpoint import Checkpoints


def strike(number: int) -> None:
    os.kill(os.getpid(), number)


def install(event: str) -> None:
    number = signal.SIGTERM if event.startswith("term") else signal.SIGKILL

    def data_hook(step: int) -> None:
        if event in ("kill-step", "term-step") and step == 4:
            strike(number)

    def eval_hook(batch: int) -> None:
        if event in ("kill-evaluation", "term-evaluation") and batch == 1:
            strike(number)

    experiment = toy.experiment(data_hook=data_hook, eval_hook=eval_hook)
    loop.build_experiment = lambda config: experiment
    save = Checkpoints.save

    def save_and_die(self: Checkpoints, state: object, meta: dict[str, object]) -> None:
        save(self, state, meta)
        if event == "kill-checkpoint" and int(state.step) == 4:
            strike(number)
        if event == "full" and int(state.step) == 4:
            self._manager.wait_until_finished()
            resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))

    Checkpoints.save = save_and_die


if __name__ == "__main__":
    install(sys.argv[1])
    leave(main(sys.argv[2:]))
