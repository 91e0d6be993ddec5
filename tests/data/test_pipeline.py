"""Batches are a function of (seed, step), whatever loads them; broken records are counted, named and bounded."""

import logging
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.data.streams import StreamSpec


@dataclass(frozen=True)
class Records:
    """Record i is i."""

    count: int = 10

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return range(self.count)[index]


@dataclass(frozen=True)
class Loader:
    """Takes longer for some records than for others, so that threads overtake each other."""

    broken: tuple[int, ...] = (3,)

    def __call__(self, record: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        time.sleep(0.002 * (record % 3))
        if record in self.broken:
            raise StoryjaxError(f"film{record}.mp4 is damaged:\ncopy it again")
        return {"record": np.int32(record), "noise": rng.random(3, dtype=np.float32)}


SPEC = StreamSpec(batch_size=4, seed=7)
LENIENT = {"max_broken_fraction": 0.3}


def take(spec: StreamSpec, batches: int, load=None, **options):
    """The first batches and the report."""
    stream = train_stream(Records(), load or Loader(), spec, **(LENIENT | options))
    taken = [next(stream) for _ in range(batches)]
    report = stream.report()
    stream.close()
    return taken, report


def assert_same(left: list[dict], right: list[dict]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], strict=True)


@pytest.fixture(scope="module")
def reference():
    return take(SPEC, 12)


@pytest.mark.parametrize(
    "options", [{"threads": 1}, {"threads": 7, "prefetch": 5}, {"workers": 2, "threads": 2}], ids=str
)
def test_threads_and_workers_change_nothing(reference, options):
    taken, report = take(SPEC, 12, **options)
    assert_same(taken, reference[0])
    assert report == reference[1]


@pytest.mark.parametrize("step", [1, 5, 11])
def test_resuming_at_a_step(reference, step):
    taken, _ = take(StreamSpec(4, 7, start_step=step), 12 - step)
    assert_same(taken, reference[0][step:])


def test_processes_hold_the_parts_of_the_global_batch(reference):
    parts = [take(StreamSpec(4, 7, process_index=process, process_count=2), 12)[0] for process in (0, 1)]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts, strict=True)]
    assert_same(joined, reference[0])


def test_epochs_have_every_record_once_in_orders_of_their_own():
    taken, _ = take(StreamSpec(5, 1), 8, load=Loader(broken=()))
    epochs = np.concatenate([batch["index"] for batch in taken]).reshape(4, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4
    # The same record is not augmented alike in two epochs.
    noise = np.concatenate([batch["noise"] for batch in taken])
    assert len(np.unique(noise[:, 0])) == 40
    other, _ = take(StreamSpec(5, 2), 2, load=Loader(broken=()))
    assert (np.concatenate([batch["index"] for batch in other]) != epochs[0]).any()


def test_a_broken_record_is_replaced_named_and_counted(caplog):
    whole, _ = take(SPEC, 15, load=Loader(broken=()))
    with caplog.at_level(logging.WARNING):
        taken, report = take(SPEC, 15)
    lines = [line for line in caplog.messages if "film3.mp4" in line]
    assert lines == ["record 3 is broken and left out: film3.mp4 is damaged: copy it again"]
    assert report["seen"] == 60
    assert report["broken"] >= 6  # once an epoch at least
    assert report["broken_records"] == 1
    assert "film3.mp4" in report["last_broken"]
    for batch, before in zip(taken, whole, strict=True):
        kept = before["record"] != 3
        np.testing.assert_array_equal(batch["record"][kept], before["record"][kept])
        assert (batch["record"] != 3).all()
        np.testing.assert_array_equal(batch["index"], batch["record"])


def none_loads(record: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    raise StoryjaxError(f"film{record}.mp4 is damaged")


def test_too_many_broken_records_end_the_stream():
    for start in (train_stream, eval_stream):
        stream = start(Records(), Loader(broken=(2, 3, 5)), SPEC, max_broken_fraction=0.2)
        with pytest.raises(StoryjaxError, match=r"3 of 10 records are broken.*0\.2.*the log names each.*film\d"):
            [next(stream) for _ in range(10)]
        stream.close()
        stream = start(Records(), none_loads, SPEC, max_broken_fraction=1.0)
        with pytest.raises(StoryjaxError, match=r"records.*; the last: film\d"):
            next(stream)
        stream.close()


def test_defects_of_the_program_are_not_broken_records():
    def defect(record, rng):
        raise TypeError("a defect")

    stream = train_stream(Records(), defect, SPEC)
    with pytest.raises(TypeError, match="a defect"):
        next(stream)
    stream.close()

    def ragged(record, rng):
        return {"x": np.zeros(record)}

    stream = train_stream(Records(), ragged, SPEC)
    with pytest.raises(ValueError, match="differ in the shape of 'x'"):
        next(stream)
    stream.close()


def test_evaluation_has_each_record_once_and_masks_the_rest():
    stream = eval_stream(Records(), Loader(), SPEC, **LENIENT)
    batches = list(stream)
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    valid = np.stack([batch["record_valid"] for batch in batches])
    assert valid.tolist() == [[True, True, True, False], [True] * 4, [True, True, False, False]]
    for batch in batches:
        np.testing.assert_array_equal(batch["record"][batch["record_valid"]], batch["index"][batch["record_valid"]])
        assert np.isfinite(batch["noise"]).all()
    assert stream.report() | {"last_broken": ""} == {"seen": 10, "broken": 1, "broken_records": 1, "last_broken": ""}


def test_evaluation_in_processes_has_equal_numbers_of_batches():
    whole = list(eval_stream(Records(), Loader(), SPEC, **LENIENT))
    specs = [StreamSpec(4, 7, process_index=process, process_count=4) for process in range(4)]
    parts = [list(eval_stream(Records(), Loader(), spec, **LENIENT)) for spec in specs]
    joined = [
        {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} for rows in zip(*parts, strict=True)
    ]
    for batch, reference in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(batch["record_valid"], reference["record_valid"])
        valid = batch["record_valid"]
        for name in batch:
            np.testing.assert_array_equal(batch[name][valid], reference[name][valid])


def test_a_first_record_that_is_broken_alone_in_its_batch():
    batches = list(eval_stream(Records(), Loader(broken=(0,)), StreamSpec(1, 7), **LENIENT))
    assert [batch["record_valid"].tolist() for batch in batches] == [[False]] + [[True]] * 9


def test_loading_starts_at_once_and_ends_with_the_steps():
    loaded = []
    ready = threading.Event()

    def load(record, rng):
        loaded.append(record)
        if len(loaded) == 8:
            ready.set()
        return {"x": np.zeros(1)}

    stream = train_stream(Records(), load, StreamSpec(4, 0, start_step=1, steps=3))
    assert ready.wait(10), "nothing is loaded before it is asked for"
    assert len(list(stream)) == 2
    assert len(loaded) == 8
    assert list(stream) == []


def test_closing_ends_the_threads():
    stream = train_stream(Records(), Loader(), SPEC, **LENIENT)
    next(stream)
    assert any("grain" in thread.name for thread in threading.enumerate())
    stream.close()
    assert list(stream) == []
    patience = time.monotonic() + 10
    while any("grain" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < patience, "threads outlive their stream"
        time.sleep(0.01)


def test_a_batch_that_processes_cannot_split_and_an_empty_source():
    with pytest.raises(StoryjaxError, match="multiple of 3"):
        train_stream(Records(), Loader(), StreamSpec(4, 0, process_count=3))
    with pytest.raises(StoryjaxError, match="no records"):
        eval_stream(Records(0), Loader(), SPEC)
