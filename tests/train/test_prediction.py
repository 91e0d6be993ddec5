"""`--mode=predict`: parts that are there are not made again, files are whole, and other weights predict anew."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import toy

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.main import main
from storyjax.train import loop
from storyjax.train.experiment import BatchPrediction, HostPrediction

CONFIG = f"{Path(toy.__file__)}:embedded"


class Killed(BaseException):
    pass


class Batches:
    """Five batches of numbers, of which the last is half filling; notes which are asked for, and dies at one."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.dies_at = dies_at

    def __call__(self, spec: StreamSpec):
        for number in range(spec.start_step, 5):
            if number == self.dies_at:
                raise Killed
            self.asked.append(number)
            valid = np.arange(spec.batch_size) < spec.batch_size // (1 + (number == 4))
            yield {"x": np.arange(spec.batch_size, dtype=np.float32) + 100 * number, "valid": valid}


def doubled(data: Batches) -> BatchPrediction:
    def rows(found, batch):
        return [[float(x), float(y)] for x, y, real in zip(batch["x"], found, batch["valid"], strict=True) if real]

    def files(rows):
        return {"doubled.json": json.dumps(rows), "deep/doubled.txt": "".join(f"{y:g}\n" for _, y in rows)}

    return BatchPrediction("doubled", data, lambda params, batch: 2 * batch["x"], rows, files, ("x", "valid"))


def units(made: list[int], dies_at: int | None = None) -> HostPrediction:
    def predict(params):
        width = params["student"]["out"]["kernel"].shape[1]

        def unit(number: int):
            if number == dies_at:
                raise Killed
            made.append(number)
            return [[number, width]]

        return unit

    return HostPrediction("units", lambda: 3, predict, lambda rows: {"units.json": json.dumps(rows)})


def predict(workdir: Path, *predictions, **changes) -> dict[str, float]:
    config = load_config(CONFIG)
    config.update(changes)
    experiment = dataclasses.replace(toy.experiment(), predictions=predictions)
    return loop.run(config, workdir, "predict", experiment=experiment, progress=False)


def test_a_killed_prediction_goes_on_where_it_was(tmp_path: Path) -> None:
    first, made = Batches(dies_at=3), []
    with pytest.raises(Killed):
        predict(tmp_path, units(made, dies_at=2), doubled(first))
    with pytest.raises(Killed):
        predict(tmp_path, units(made), doubled(first))
    assert made == [0, 1, 2]
    assert first.asked == [0, 1, 2]
    folder = tmp_path / "predictions"
    assert json.loads((folder / "units.json").read_text()) == [[0, 2], [1, 2], [2, 2]]
    assert not (folder / "doubled.json").exists()
    second = Batches()
    counts = predict(tmp_path, units(made), doubled(second))
    assert second.asked == [3, 4]
    assert made == [0, 1, 2]
    rows = json.loads((folder / "doubled.json").read_text())
    size = (len(rows) * 2) // 9
    assert counts == {"doubled/predictions": float(4 * size + size // 2), "units/predictions": 3.0}
    assert all(y == 2 * x for x, y in rows)
    assert [x for x, _ in rows] == sorted({x for x, _ in rows})
    assert len((folder / "deep" / "doubled.txt").read_text().splitlines()) == len(rows)
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "deep", "doubled.json", "units.json"]
    assert not (tmp_path / "results.json").exists()
    # What is finished is not made again; a file that was removed is, and other weights predict anew.
    third = Batches()
    predict(tmp_path, doubled(third))
    assert third.asked == []
    (folder / "doubled.json").unlink()
    predict(tmp_path, doubled(third))
    assert third.asked == [0, 1, 2, 3, 4]
    with pytest.raises(Killed):
        predict(tmp_path, units(made, dies_at=1), seed=7)
    assert made == [0, 1, 2, 0]


def test_nothing_to_predict_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(loop, "build_experiment", lambda config: toy.experiment())
    assert main([f"--config={CONFIG}", f"--workdir={tmp_path}", "--mode=predict"]) == 2
    assert "no challenge has a file" in capsys.readouterr().err
    empty = BatchPrediction(
        "none", lambda spec: iter(()), lambda params, batch: jnp.zeros(1), lambda *_: [], lambda _: {}
    )
    with pytest.raises(StoryjaxError, match="nothing to predict for none"):
        predict(tmp_path, empty)
