"""`--mode=predict`: what a model predicts, in the files that challenges take, under WORKDIR/predictions.

A prediction is made in parts: batches of examples, or units such as sequences. The rows of each part are a file of its
own, written whole or not at all, in `predictions/.NAME-FINGERPRINT`; a run that is killed goes on with the parts that
are missing. When all are there the challenge's files are written from them, and `predictions/about.json` says what
they were made with: the same command then has nothing to do. Other weights, or another config, have another
fingerprint, and are predicted with anew.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from storyjax.core.buckets import remove_tree
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import BatchPrediction, HostPrediction, Params, Rows
from storyjax.train.mesh import batch_sharding, data_share, put_batch, replicated
from storyjax.train.params import merge
from storyjax.train.workdir import plain

FOLDER, _ABOUT = "predictions", "about.json"
# What makes another prediction of a config.
_SECTIONS = ("experiment", "seed", "precision", "model", "data", "init")
_LOG = logging.getLogger(__name__)

AfterPart = Callable[[str], None]


def fingerprint(config: ConfigDict, step: int | None, batch_size: int) -> str:
    """Returns a name that changes with whatever changes a prediction.

    Args:
        config: of the run.
        step: of the run's checkpoint; None: the weights that a run starts from.
        batch_size: since parts are batches.
    """
    made_of = {key: value for key, value in plain(config).items() if key in _SECTIONS}
    text = json.dumps([made_of, step, batch_size], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Parts:
    """The parts of one prediction on disk; only the first process writes them."""

    def __init__(self, folder: Path, name: str, mark: str):
        self.place = folder / f".{name}-{mark}"
        if jax.process_index() == 0:
            for older in folder.glob(f".{name}-{'[0-9a-f]' * len(mark)}"):
                if older != self.place:
                    _LOG.warning("%s is of other weights or another config, and is removed", older)
                    remove_tree(older)
            self.place.mkdir(parents=True, exist_ok=True)

    def path(self, index: int) -> Path:
        return self.place / f"{index:06d}.json"

    def done(self) -> int:
        """Returns how many of the first parts are there."""
        count = 0
        while self.path(count).exists():
            count += 1
        return count

    def write(self, index: int, rows: Rows) -> None:
        if jax.process_index() == 0:
            write_atomically(self.path(index), json.dumps(rows))

    def rows(self, count: int) -> Rows:
        return [row for index in range(count) for row in json.loads(self.path(index).read_text("utf-8"))]


class Predictions:
    """All predictions of an experiment.

    Args:
        predictions: of the experiment, whose names are those of their files.
        batch_size: global, of those that are made in batches.
        seed: of the run.
        mesh: batches are cut over it, results come back whole.
        folder: where the files go.
        mark: the fingerprint of the run.
    """

    def __init__(
        self,
        predictions: Sequence[BatchPrediction | HostPrediction],
        batch_size: int,
        seed: int,
        mesh: Mesh,
        folder: Path,
        mark: str,
    ) -> None:
        self._predictions, self._batch_size, self._seed, self._mesh = predictions, batch_size, seed, mesh
        self._folder, self._mark = folder, mark
        self._gather = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))

    def __call__(self, trainable: Params, frozen: Params, after_part: AfterPart) -> dict[str, float]:
        """Makes all that are not there, and returns {"NAME/predictions": their number}, sorted.

        Args:
            after_part: called with the prediction's name after each part; what it raises ends the run, which goes on
                from there when it is started again.

        Raises:
            StoryjaxError: there is nothing to predict on, or the files cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        about = self._about()
        for prediction in self._predictions:
            if self._there(about.get(prediction.name, {})):
                continue
            parts = _Parts(self._folder, prediction.name, self._mark)
            if isinstance(prediction, HostPrediction):
                count = self._in_units(prediction, trainable, frozen, parts, after_part)
            else:
                count = self._in_batches(prediction, trainable, frozen, parts, after_part)
            if not count:
                raise StoryjaxError(f"there is nothing to predict for {prediction.name}: look at config.data")
            about[prediction.name] = self._finish(prediction, parts, count)
        return {f"{each.name}/predictions": float(about[each.name]["rows"]) for each in self._predictions}

    def _about(self) -> dict[str, Any]:
        """What about.json says of the predictions that are finished."""
        try:
            return json.loads((self._folder / _ABOUT).read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def _there(self, entry: dict[str, Any]) -> bool:
        same = entry.get("fingerprint") == self._mark
        return same and all((self._folder / name).is_file() for name in entry.get("files", ()))

    def _in_batches(
        self, prediction: BatchPrediction, trainable: Params, frozen: Params, parts: _Parts, after_part: AfterPart
    ) -> int:
        """Predicts the batches that are missing; returns how many there are with them."""
        index, count = data_share(self._mesh)
        done, sharding = parts.done(), batch_sharding(self._mesh)
        spec = StreamSpec(self._batch_size, self._seed, done, process_index=index, process_count=count)
        step = jax.jit(
            lambda own, rest, batch: prediction.step(merge(own, rest), batch), out_shardings=replicated(self._mesh)
        )
        stream = prediction.data(spec)
        try:
            for batch in stream:
                there = put_batch(batch, self._batch_size, sharding, prediction.name, prediction.sequences)
                outputs = jax.device_get(step(trainable, frozen, there))
                if jax.process_count() > 1:
                    batch = jax.device_get(self._gather({name: there[name] for name in prediction.reads}))
                parts.write(done, prediction.rows(outputs, batch))
                done += 1
                after_part(prediction.name)
            report = stream.report() if hasattr(stream, "report") else {}
            if report.get("broken"):
                _LOG.warning(
                    "%s: %s records cannot be used and have no prediction, the last of them: %s",
                    prediction.name,
                    report["broken"],
                    report.get("last_broken"),
                )
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
        return done

    def _in_units(
        self, prediction: HostPrediction, trainable: Params, frozen: Params, parts: _Parts, after_part: AfterPart
    ) -> int:
        """Predicts the units that are missing; returns how many there are with them."""
        total, done = prediction.units(), parts.done()
        if done >= total:
            return total
        whole = merge(trainable, frozen)
        if jax.process_count() > 1:  # some of it may be on other processes' devices
            whole = self._gather(whole)
        predict = prediction.predict(jax.device_get(whole))
        for unit in range(done, total):
            parts.write(unit, predict(unit))
            after_part(prediction.name)
        return total

    def _finish(self, prediction: BatchPrediction | HostPrediction, parts: _Parts, count: int) -> dict[str, Any]:
        """Writes the challenge's files, and returns what about.json says of them."""
        if jax.process_index() > 0:
            return {"rows": 0}
        rows = parts.rows(count)
        files = prediction.files(rows)
        for name, text in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text, durable=True)
        entry = {"fingerprint": self._mark, "files": sorted(files), "rows": len(rows)}
        text = json.dumps({**self._about(), prediction.name: entry}, indent=1)
        write_atomically(self._folder / _ABOUT, text + "\n", durable=True)
        remove_tree(parts.place)
        return entry
