"""The command line: what it teaches, what it refuses in one line, and that it runs."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from storyjax.main import main
from storyjax.train import loop

FOLDER = pathlib.Path(__file__).parent / "train"
CONFIG = f"--config={FOLDER / 'toy.py'}:embedded"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import toy

    monkeypatch.setattr(loop, "build_experiment", lambda config: toy.experiment())
    return toy


def test_help_teaches_and_shows_a_configs_keys(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for part in (
        "--config=",
        "--workdir=",
        "--mode=eval",
        "--config.train.steps=",
        "results.json",
        "SIGTERM",
        "--profile=",
        "mfu",
    ):
        assert part in text
    assert main([CONFIG, "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("learning_rate: 0.01", "steps: 6", "warmup_steps: 2", "keep: 2"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--confg=a.py"], "there is no flag --confg. Did you mean '--config'?"),
        (["--cofnig.train.steps=3"], "there is no flag --cofnig.train.steps. Did you mean '--config'?"),
        (["train"], "'train' is not a flag"),
        (["--workdir=/tmp/x"], "--config is missing"),
        ([CONFIG], "--workdir is missing"),
        ([CONFIG, "--workdir"], "--workdir needs a value"),
        ([CONFIG, "--workdir=x", "--mode=evl"], "mode: unknown 'evl'. Did you mean 'eval'?"),
        ([CONFIG, "--workdir=x", "--progress=no"], "--progress must be true or false"),
        ([CONFIG, "--workdir=x", "--config.trian.steps=3"], "config has no key 'trian'. Did you mean 'train'?"),
        ([CONFIG, "--workdir=x", "--config.optim.lr=3"], "config.optim has no key 'lr'"),
        ([CONFIG, "--workdir=x", "--config.optim.learningrate=3"], "Did you mean 'learning_rate'?"),
        ([CONFIG, "--workdir=x", "--config.train.steps=1.5"], "config.train.steps must be int, not 1.5"),
        ([CONFIG, "--workdir=x", "--config.optim.schedule=cosin"], "Did you mean 'cosine'?"),
        ([CONFIG, "--workdir=x", "--config.mesh.data=3"], "does not lay out 1 device(s)"),
        ([CONFIG[:-1], "--workdir=x"], "unknown 'embedde'. Did you mean 'embedded'?"),
        ([CONFIG, "--workdir=x", "--profile=4"], "--profile must be FIRST:LAST"),
        ([CONFIG, "--workdir=x", "--profile=4:3"], "--profile must be FIRST:LAST"),
        ([CONFIG, "--workdir=x", "--profile=0:3"], "--profile must be FIRST:LAST"),
        ([CONFIG, "--workdir=x", "--profile=a:b"], "--profile must be FIRST:LAST"),
        ([CONFIG, "--workdir=x", "--profile=5:7"], "--profile=5:7: this run takes steps 1 to 6; choose among those."),
        ([CONFIG, "--workdir=x", "--profile=1:2", "--mode=eval"], "--mode=eval takes none"),
        (["--config=configs/tcr_nxtqa.py", "--workdir=x"], "there is no file configs/tcr_nxtqa.py"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(arguments, message, toy, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("storyjax: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_it_trains_with_overrides_and_evaluates(toy, capsys, tmp_path):
    assert main([CONFIG, "--workdir", str(tmp_path), "--config.train.steps=3", "--config.optim.b2", "0.9"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert capsys.readouterr().out == f"toy/mse {results['toy/mse']:.6g}\n"
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["train"]["steps"], written["optim"]["b2"]) == (3, 0.9)
    (tmp_path / "results.json").unlink()
    assert main([CONFIG, f"--workdir={tmp_path}", "--mode=eval", "--config.optim.b2=0.9", "--progress=false"]) == 0
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_a_missing_data_file_is_one_line(toy, capsys, tmp_path, monkeypatch):
    def missing(spec):
        raise FileNotFoundError(2, "No such file or directory", "/data/train.csv")

    experiment = toy.experiment(tasks=(toy.Task("left", missing, toy.loss(0, 0.0)),))
    monkeypatch.setattr(loop, "build_experiment", lambda config: experiment)
    assert main([CONFIG, f"--workdir={tmp_path}", "--progress=false"]) == 2
    assert capsys.readouterr().err == "storyjax: error: No such file or directory: /data/train.csv\n"


def test_a_slip_is_told_at_once_and_without_a_traceback():
    began = time.monotonic()
    slip = subprocess.run([sys.executable, "-m", "storyjax.main", "--wordir=x"], capture_output=True, text=True)
    assert (slip.returncode, slip.stdout) == (2, "")
    assert slip.stderr.startswith("storyjax: error: there is no flag --wordir. Did you mean '--workdir'?")
    assert slip.stderr.count("\n") == 1
    assert time.monotonic() - began < 10.0
    imports = "import sys, storyjax.main; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imports]).returncode == 0
