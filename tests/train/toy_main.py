"""`python toy_main.py EVENT ARGUMENTS...`: storyjax.main on the toy experiment, with something happening in mid-run.

The events strike once, at fixed moments, as a machine would: "kill-step" in loading the batch of step 5 (counted from
1), "kill-evaluation" in the second batch of an evaluation, "kill-checkpoint" right after the write of checkpoint 4
has begun, "term-step" and "term-evaluation" the same with SIGTERM, "full" lets no file grow beyond 6 kB from step 4 on.
Every run prints how its large parameters lie on the devices, and the digests of the states that it saves and restores.
"""

import hashlib
import os
import resource
import signal
import sys

import jax
import toy
from jax.experimental import multihost_utils

from storyjax.main import leave, main
from storyjax.train import loop
from storyjax.train.checkpoint import Checkpoints


def strike(number: int) -> None:
    os.kill(os.getpid(), number)


def digest(state: object) -> str:
    """Of all bits of a train state, whichever devices of whichever process they lie on."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        total.update(multihost_utils.process_allgather(leaf, tiled=True).tobytes())
    return total.hexdigest()


def say(*words: object) -> None:
    """A line of its own, in one write: the runtime's own messages come in between the parts that `print` writes."""
    sys.stdout.write(f"\n{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def install_digests() -> None:
    save, restore, restore_or_init = Checkpoints.save, Checkpoints.restore_state, loop.restore_or_init

    def saved(self: Checkpoints, state: object, *rest: object) -> None:
        say("saved", int(state.step), digest(state))
        save(self, state, *rest)

    def restored(self: Checkpoints, step: int, like: object) -> object:
        state = restore(self, step, like)
        say("restored", step, digest(state))
        return state

    def started(*arguments: object) -> object:
        start = restore_or_init(*arguments)
        for name, leaf in (
            ("frozen", start.frozen["teacher"]["memory"]),
            ("trainable", start.trainable["student"]["middle"]["kernel"]),
        ):
            say(name, [shard.data.shape for shard in leaf.addressable_shards])
        return start

    Checkpoints.save, Checkpoints.restore_state, loop.restore_or_init = saved, restored, started


def install(event: str) -> None:
    install_digests()
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

    def save_and_die(self: Checkpoints, state: object, *rest: object) -> None:
        save(self, state, *rest)
        if event == "kill-checkpoint" and int(state.step) == 4:
            strike(number)
        if event == "full" and int(state.step) == 4:
            self._manager.wait_until_finished()
            resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))

    Checkpoints.save = save_and_die


if __name__ == "__main__":
    install(sys.argv[1])
    leave(main(sys.argv[2:]))
