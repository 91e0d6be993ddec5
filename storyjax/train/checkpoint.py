"""Checkpoints of a run (Orbax): trainable parameters, optimiser state, and what the data needs to go on.

Layout of <workdir>/checkpoints/<step>: `trainable` (parameters alone, so that they load without the optimiser),
`optimizer` (the rest of the train state), `meta` (JSON: step, seed, the streams' reports, config), and `drawn` where
there are frozen parameters that are random on purpose. Other frozen parameters are not in it.

Saving is asynchronous: the state is copied out before `save` returns, and an error in writing it surfaces at the next
save or at `close`.
"""

import contextlib
import json
import logging
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from storyjax.core.buckets import COMMITTED, BucketPath, place
from storyjax.core.errors import StoryjaxError, first_line
from storyjax.core.params_io import SHIPPED, flatten, load_flat, weights_folder
from storyjax.train.experiment import Params
from storyjax.train.params import validate_params
from storyjax.train.step import TrainState

FOLDER = "checkpoints"
DRAWN = "drawn"
ASIDE = "set_aside"  # checkpoints that a run went back behind
_SHOWN = 160  # characters of what the storage library says
EXPORTED = "params"  # what `storyjax export --to orbax` calls it


class _NotOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


def _quieten_orbax() -> None:
    """A failed write is raised, and that is enough: Orbax also logs its traceback three times over, and the storage
    library prints one for each other write that then finds its event loop closed.
    """
    logger = logging.getLogger("absl")
    if any(isinstance(old, _NotOrbax) for old in logger.filters):
        return
    logger.addFilter(_NotOrbax())
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and "Event loop is closed" in str(unraisable.exc_value)):
            before(unraisable)

    sys.unraisablehook = hook


class Checkpoints:
    """The checkpoints of one run.

    Args:
        workdir: the run's folder.
        keep: how many of the latest are kept.
        read_only: look only, touch nothing: the run may be under way in another process.
    """

    def __init__(self, workdir: pathlib.Path, keep: int = 1, read_only: bool = False) -> None:
        _quieten_orbax()
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item in ("trainable", "optimizer", DRAWN):
            handler = ocp.StandardCheckpointHandler()
            handlers.add(item, ocp.args.StandardSave, handler)
            handlers.add(item, ocp.args.StandardRestore, handler)
        handler = ocp.JsonCheckpointHandler()
        handlers.add("meta", ocp.args.JsonSave, handler)
        handlers.add("meta", ocp.args.JsonRestore, handler)
        self._folder = workdir.absolute() / FOLDER
        self._open: ocp.CheckpointManager | None = None
        if not read_only or self._folder.is_dir():
            # What a killed run left half written is swept away, but never from under a run that is writing it.
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else keep, read_only=read_only, cleanup_tmp_directories=not read_only
            )
            self._open = ocp.CheckpointManager(
                epath.Path(str(self._folder)), options=options, handler_registry=handlers
            )

    @property
    def _manager(self) -> ocp.CheckpointManager:
        assert self._open is not None  # asked only of a folder that `latest` has found a checkpoint in, or to write
        return self._open

    def latest(self) -> int | None:
        """The step of the latest whole checkpoint, or None."""
        return None if self._open is None else self._open.latest_step()

    def save(self, state: TrainState, meta: dict[str, Any], drawn: Params | None = None) -> None:
        """Starts writing the checkpoint of `state.step`, unless there is one.

        Args:
            state: what training changes.
            meta: JSON that `meta` returns.
            drawn: the frozen parameters that no file has.
        """
        step = int(state.step)
        if step == self.latest():
            return
        rest = {"step": state.step, "healthy": state.healthy, "opt_state": state.opt_state}
        items: dict[str, Any] = {
            "trainable": ocp.args.StandardSave(state.trainable),
            "optimizer": ocp.args.StandardSave(rest),
            "meta": ocp.args.JsonSave({"step": step, **meta}),
        }
        if drawn:
            items[DRAWN] = ocp.args.StandardSave(drawn)
        self._manager.save(step, args=ocp.args.Composite(**items))

    def drawn(self, step: int) -> dict[str, np.ndarray]:
        """The frozen parameters by path that `save` was given, on the host; none in a checkpoint without any."""
        return _read_drawn(self._folder / str(step))

    def meta(self, step: int) -> dict[str, Any]:
        """What `save` was given beside the state."""
        with self._damage_named(step):
            return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def restore_trainable(self, step: int, like: Params) -> Params:
        """The trainable parameters, laid on the mesh as `like` is, which may be another mesh than they were saved from.

        Raises:
            StoryjaxError: the checkpoint is of another model, or damaged.
        """
        with self._damage_named(step):
            saved = flatten(self._manager.item_metadata(step)["trainable"].tree)
            wanted = flatten(like)
            validate_params(saved, wanted, set(wanted), str(self._folder))
            items = ocp.args.Composite(trainable=ocp.args.StandardRestore(_abstract(like)))
            return self._manager.restore(step, args=items)["trainable"]

    def restore_state(self, step: int, like: TrainState) -> TrainState:
        """`like`, whose trainable parameters are the checkpoint's already, with the rest of the checkpoint's state."""
        rest = {"step": like.step, "healthy": like.healthy, "opt_state": like.opt_state}
        items = ocp.args.Composite(optimizer=ocp.args.StandardRestore(_abstract(rest)))
        with self._damage_named(step):
            return TrainState(trainable=like.trainable, **self._manager.restore(step, args=items)["optimizer"])

    @contextlib.contextmanager
    def _damage_named(self, step: int) -> Iterator[None]:
        """Whatever the storage library makes of a damaged checkpoint is one line; other errors stay what they are."""
        try:
            yield
        except StoryjaxError:
            raise
        except Exception as error:
            if damage := _damage(self._folder / str(step)):
                raise _damaged(self._folder, step, damage) from error
            raise

    def close(self) -> None:
        """Waits for what is being written; raises what went wrong with it."""
        if self._open is not None:
            self._open.wait_until_finished()
            self._open.close()


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def load_trainable(source: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Trainable parameters by path, on the host: of a run's latest checkpoint, of an export, of a safetensors file or
    folder, or of "shipped:NAME", weights that come with the package.

    Raises:
        StoryjaxError: there is none of them at `source`.
    """
    if str(source).startswith(SHIPPED):
        return load_flat(weights_folder(str(source)))
    source = place(source)
    if (source / EXPORTED).is_dir():
        return _read_arrays(source / EXPORTED)
    if not (source / FOLDER).is_dir():
        if source.suffix == ".safetensors" or any(source.glob("*.safetensors")):
            return load_flat(source)
        raise StoryjaxError(f"{source} is neither the workdir of a run nor safetensors: it has no folder '{FOLDER}'.")
    checkpoints = Checkpoints(source, read_only=True)
    step = checkpoints.latest()
    checkpoints.close()
    if step is None:
        raise StoryjaxError(f"the run in {source} has no whole checkpoint yet.")
    folder = source / FOLDER / str(step) / "trainable"
    try:
        return _read_arrays(folder)
    except Exception as error:
        if damage := _damage(folder.parent):
            raise _damaged(source / FOLDER, step, damage) from error
        raise


def _damage(folder: pathlib.Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, which is read as a whole to find out; None: nothing."""
    for item in ("trainable", "optimizer"):
        try:
            _read_tree(folder / item)
        except Exception as error:  # of a damaged file the storage library says so in many ways
            what = "cannot be read" if (folder / item).is_dir() else "is missing"
            return f"its part '{item}' {what}: {first_line(error, _SHOWN)}"
    try:
        json.loads((folder / "meta" / "metadata").read_text("utf-8"))
    except (OSError, ValueError) as error:
        return f"its part 'meta' cannot be read: {first_line(error, _SHOWN)}"
    return None


def _damaged(folder: pathlib.Path, step: int, damage: str) -> StoryjaxError:
    """The error of a damaged checkpoint, with the latest of the others that is whole."""
    others = sorted((other for other in _steps(folder) if other != step), reverse=True)
    good = next((other for other in others if _damage(folder / str(other)) is None), None)
    remedy = f"no other is there: move {folder} away to start over"
    if good is not None:
        remedy = (
            f"step {good} is still good: train with --resume-from={good} to go on from it, or move"
            f" {folder / str(step)} away to use it"
        )
    return StoryjaxError(f"the checkpoint of step {step} in {folder} is damaged ({damage}); {remedy}")


def _steps(folder: pathlib.Path) -> list[int]:
    if not folder.is_dir():
        return []
    steps = [path for path in folder.iterdir() if path.name.isdecimal()]
    if isinstance(folder, BucketPath):  # where they are written in place, and the mark of a whole one comes last
        steps = [path for path in steps if (path / COMMITTED).exists()]
    return sorted(int(path.name) for path in steps)


def saved_config(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the config in the latest of a run's checkpoints that has one that can be read; None: in none."""
    for step in reversed(_steps(workdir / FOLDER)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return dict(json.loads((workdir / FOLDER / str(step) / "meta" / "metadata").read_text("utf-8"))["config"])
    return None


def set_aside(workdir: pathlib.Path, step: int) -> list[pathlib.Path]:
    """Moves the checkpoints after `step` from a run's checkpoints to its folder `set_aside`, so that the run goes on
    from there, and returns where they are now.

    Raises:
        StoryjaxError: there is no checkpoint of that step; the message has those that are there.
    """
    folder = workdir / FOLDER
    steps = _steps(folder)
    if step not in steps:
        there = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
        raise StoryjaxError(f"--resume-from={step}: {folder} has no checkpoint of that step; {there}")
    moved = []
    for later in steps[steps.index(step) + 1 :]:
        name, copy = f"{later}", 0
        while (target := workdir / ASIDE / name).exists():
            copy += 1
            name = f"{later}.{copy}"
        target.parent.mkdir(exist_ok=True)
        (folder / str(later)).rename(target)
        moved.append(target)
    return moved


def load_saved(source: str | pathlib.Path) -> dict[str, np.ndarray]:
    """All parameters by path that a checkpoint holds: trainable ones, and frozen ones that were drawn for the run.

    Raises:
        StoryjaxError: as `load_trainable`.
    """
    loaded = load_trainable(source)
    if str(source).startswith(SHIPPED) or not (place(source) / FOLDER).is_dir():
        return loaded
    checkpoints = Checkpoints(place(source), read_only=True)
    step = checkpoints.latest()
    checkpoints.close()
    return _read_drawn(place(source) / FOLDER / str(step)) | loaded


def _read_drawn(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return _read_arrays(folder / DRAWN) if (folder / DRAWN).is_dir() else {}


def _read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return flatten(_read_tree(folder))


def _read_tree(folder: pathlib.Path) -> Any:
    # As numpy, because the devices it was saved from need not exist here.
    reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    folder = epath.Path(str(folder.absolute()))
    tree = reader.metadata(folder).item_metadata.tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
