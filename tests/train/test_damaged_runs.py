"""A second training in one workdir, and checkpoints that are damaged, are one line, and what is good stays good."""

import gc
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import toy

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import exclusive_lock
from storyjax.main import main
from storyjax.train import loop
from storyjax.train.checkpoint import load_trainable
from storyjax.train.loop import run
from storyjax.train.restore import read_config

# Orbax abandons what it was reading beside a damaged array; Python says so when it collects the remains.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
CONFIG = f"--config={pathlib.Path(__file__).parent / 'toy.py'}:embedded"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collects these remains here, not in whichever test comes next."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """The workdir of a run of six steps with the checkpoints of steps 4 and 6."""
    workdir = tmp_path_factory.mktemp("whole")
    run(toy.get_config("embedded"), workdir, experiment=toy.experiment(), progress=False)
    return workdir


@pytest.fixture
def workdir(whole, tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setattr(loop, "build_experiment", lambda config: toy.experiment())
    return pathlib.Path(shutil.copytree(whole, tmp_path / "run"))


def largest(folder: pathlib.Path) -> pathlib.Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut(folder: pathlib.Path) -> None:
    file = largest(folder / "trainable")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scratch(folder: pathlib.Path) -> None:
    file = largest(folder / "optimizer" / "d")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)


def remove(*parts: str) -> Callable[[pathlib.Path], None]:
    return lambda folder: shutil.rmtree(folder.joinpath(*parts))


def empty_meta(folder: pathlib.Path) -> None:
    (folder / "meta" / "metadata").write_text("")


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (cut, "trainable"),
        (scratch, "optimizer"),
        (remove("optimizer"), "optimizer"),
        (remove("trainable"), "trainable"),
        (remove("trainable", "d"), "trainable"),
        (empty_meta, "meta"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_with_the_step_that_is_good(damage, part, workdir, capsys) -> None:
    damage(workdir / "checkpoints" / "6")
    assert main([CONFIG, f"--workdir={workdir}", "--progress=false"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("storyjax: error: the checkpoint of step 6 in "), told
    assert told.count("\n") == 1
    assert f"its part '{part}'" in told
    assert "step 4 is still good: train with --resume-from=4" in told
    if part == "trainable":
        with pytest.raises(StoryjaxError, match="step 4 is still good"):
            load_trainable(workdir)


def test_a_run_goes_on_from_the_step_that_is_good(whole, workdir, capsys) -> None:
    cut(workdir / "checkpoints" / "6")
    assert main([CONFIG, f"--workdir={workdir}", "--progress=false", "--resume-from=4"]) == 0
    expected = load_trainable(whole)
    for path, array in load_trainable(workdir).items():
        np.testing.assert_array_equal(array, expected[path])
    assert (workdir / "set_aside" / "6").is_dir()
    assert main([CONFIG, f"--workdir={workdir}", "--resume-from=5"]) == 2
    assert "has no checkpoint of that step; there are 4, 6" in capsys.readouterr().err
    for step in (4, 6):
        cut(workdir / "checkpoints" / str(step))
    assert main([CONFIG, f"--workdir={workdir}"]) == 2
    assert "no other is there" in capsys.readouterr().err


def test_a_broken_config_is_noted_and_the_checkpoints_own_is_compared(workdir, capsys) -> None:
    (workdir / "config.json").write_text('{"experiment": "t')
    assert read_config(str(workdir), "toy", "none")["experiment"] == "toy"
    assert main([CONFIG, f"--workdir={workdir}"]) == 0
    assert "config.json is damaged" in capsys.readouterr().err
    assert json.loads((workdir / "config.json").read_text())["experiment"] == "toy"
    (workdir / "config.json").write_text("[]")
    assert main([CONFIG, f"--workdir={workdir}", "--config.optim.learning_rate=0.5"]) == 2
    assert "optim.learning_rate was 0.01, is 0.5" in capsys.readouterr().err


def test_a_second_training_in_one_workdir_is_refused(workdir, capsys) -> None:
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with exclusive_lock(workdir / ".lock", "never"):
        assert main([CONFIG, f"--workdir={workdir}"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("storyjax: error: another process is training in ")
        assert told.count("\n") == 1
        assert main([CONFIG, f"--workdir={workdir}", "--mode=eval"]) == 0  # looking on is allowed
    after = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert {path for path in before if after[path] != before[path]} <= {workdir / "results.json"}


def test_a_config_of_something_else_is_not_written_over(tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert main([CONFIG, f"--workdir={tmp_path}"]) == 2
    assert "holds a config.json that is not of a run" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == '{"model_type": "t5"}'
