"""storyjax under Google's Scenic: the checkout, the linked config, the writer, and real runs where one is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storyjax import scenic
from storyjax.core import notes
from storyjax.core.errors import StoryjaxError
from storyjax.scenic.config import LINKS, get_config
from storyjax.scenic.train import train
from storyjax.train import loop
from storyjax.train.checkpoint import load_trainable
from storyjax.train.logging import read_metrics
from storyjax.train.settings import read_settings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "train"))

import toy  # noqa: E402 (of another folder of tests)

CHECKOUT = os.environ.get("STORYJAX_SCENIC", "")
TOY = str(ROOT / "tests" / "train" / "toy.py")


def checkout(folder: Path, commit: str) -> Path:
    """A folder that looks like Scenic's."""
    (folder / "scenic" / "train_lib").mkdir(parents=True)
    (folder / "scenic" / "__init__.py").write_text("raise ImportError('it must not be imported')\n")
    (folder / "scenic" / "app.py").write_text("")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text(f"{commit}\n")
    return folder


def test_a_checkout_is_found_without_importing_it(tmp_path: Path, monkeypatch, caplog) -> None:
    notes._TOLD.clear()
    monkeypatch.setattr(scenic, "NEEDED", ("numpy",))
    monkeypatch.syspath_prepend(str(checkout(tmp_path, scenic.COMMIT)))
    assert scenic.require() == tmp_path / "scenic"
    assert not caplog.text
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "packed-refs").write_text("# pack-refs\nabc123 refs/heads/main\n")
    assert scenic.require() == tmp_path / "scenic"
    assert "checkout is at abc123" in caplog.text


@pytest.mark.parametrize(
    ("files", "needed", "message"),
    [
        ((), ("numpy",), "Scenic is not there: git clone"),
        (("syntax/parser.py",), ("numpy",), "pip uninstall scenic"),
        (("app.py", "train_lib/trainers.py"), ("numpy", "no_such_module"), "pip install 'storyjax[scenic]'"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch, files, needed, message: str) -> None:
    for name in files:
        path = tmp_path / "scenic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        (tmp_path / "scenic" / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(scenic, "NEEDED", needed)
    with pytest.raises(StoryjaxError, match=message.replace("(", r"\(").replace("[", r"\[")):
        scenic.require()


@pytest.mark.parametrize("spec", ["tcr_nextqa:embedded", "mqt_mot17", f"{TOY}:embedded"])
def test_the_keys_of_scenic_are_linked_with_ours(spec: str) -> None:
    config = get_config(spec)
    for value, (theirs, path) in enumerate(LINKS.items(), 11):
        ours: Any = config.storyjax
        for key in path.split("."):
            ours = ours[key]
        there: Any = config
        for key in theirs.split("."):
            there = there[key]
        assert there == ours, theirs
        group = config
        *sections, last = theirs.split(".")
        for section in sections:
            group = group[section]
        group[last] = value if not isinstance(ours, float) else float(value)
        ours = config.storyjax
        for key in path.split("."):
            ours = ours[key]
        assert ours == value, theirs
    settings = read_settings(config.storyjax)
    assert settings.seed == 11
    assert settings.train.batch_size == 12


class Writer:
    """As CLU's metric writers are called."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.flushed = 0

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        self.lines.append({"step": step, **scalars})

    def flush(self) -> None:
        self.flushed += 1


def test_the_writer_gets_what_the_log_gets(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "build_experiment", lambda config: toy.experiment())
    config = get_config(f"{TOY}:embedded")
    config.num_training_steps = 4
    writer = Writer()
    results = train(config=config, workdir=str(tmp_path), writer=writer)
    assert set(results) == {"toy/mse"}
    prefixes = {"train": "train_", "eval": "valid_"}
    logged = [
        {"step": line["step"]}
        | {f"{prefixes[line['kind']]}{key}": value for key, value in line.items() if key not in ("step", "kind")}
        for line in read_metrics(tmp_path / "metrics.jsonl")
    ]
    assert writer.lines == logged
    assert [line["step"] for line in logged] == [1, 2, 3, 3, 4, 4]
    assert writer.flushed == 1
    loop.run(toy.get_config("embedded"), tmp_path / "own", experiment=toy.experiment(), progress=False)
    again = get_config(f"{TOY}:embedded")
    train(config=again, workdir=str(tmp_path / "theirs"), writer=Writer())
    own, theirs = (load_trainable(tmp_path / name) for name in ("own", "theirs"))
    assert own.keys() == theirs.keys()
    assert all(np.array_equal(own[path], theirs[path]) for path in own)


@pytest.mark.skipif(not CHECKOUT, reason="STORYJAX_SCENIC names no checkout of Scenic")
def test_under_a_real_scenic_a_run_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{CHECKOUT}", "JAX_PLATFORMS": "cpu"}
    config = f"--config={ROOT / 'storyjax/scenic/config.py'}:{ROOT / 'configs/pi_map_thisismy.py'}:embedded"
    ours = ["-m", "storyjax.main", "--config=pi_map_thisismy:embedded", "--progress=false", "--config.log.every=2"]
    for argv in (
        ["-m", "storyjax.scenic.main", config, "--workdir=a", "--config.batch_size=8", "--config.num_training_steps=4"],
        [*ours, "--workdir=b", "--config.train.batch_size=8", "--config.train.steps=4"],
    ):
        subprocess.run([sys.executable, *argv], check=True, cwd=tmp_path, env=environment)
    one, other = (load_trainable(tmp_path / name) for name in "ab")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[path], other[path]) for path in one)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in "ab"]
    assert results[0] == results[1]
