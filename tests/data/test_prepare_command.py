"""`storyjax data prepare`: what a run would prepare, before it."""

from pathlib import Path

import pytest

from storyjax.cli.main import run
from storyjax.core.config import config_topologies, load_config
from storyjax.data.builders.base import OfficialBuilder
from storyjax.train.experiment import build_experiment
from storyjax.train.settings import complete

CONFIGS = Path(__file__).parents[2] / "configs"
# These read episodes and sounds as they are.
AS_THEY_ARE = ("subtitles_tv", "subtitles_sync", "subtitles_laughter", "subtitles_voices")


@pytest.mark.parametrize(
    "name",
    sorted(path.stem for path in CONFIGS.glob("*.py") if config_topologies(path.stem) and "embed" not in path.stem),
)
def test_every_config_of_full_size_says_what_it_reads(name: str) -> None:
    assert (build_experiment(complete(load_config(name))).prepare is None) == (name in AS_THEY_ARE)


def nextqa(folder: Path) -> list[str]:
    """Settings of a NExT-QA of four stories in `folder`."""
    task = "data.tasks.nextqa"
    pairs: dict[str, Path | int] = {f"{task}.root": folder / "nextqa", f"{task}.cache_dir": folder / "prepared"}
    pairs |= {f"{task}.synthetic.counts.train": 3, f"{task}.synthetic.counts.test": 1}
    return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


def test_a_run_finds_what_was_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    command = ["data", "prepare", "--config=tcr_nextqa:embedded", *nextqa(tmp_path)]
    assert run(command) == 0
    first = capsys.readouterr().out
    assert first == "nextqa:train: 3 records\nnextqa:test: 1 records\n"
    monkeypatch.setattr(OfficialBuilder, "_checked", lambda *_: pytest.fail("official files were read again"))
    assert run(command) == 0
    assert capsys.readouterr().out == first


def test_slips_are_one_line(tmp_path: Path, capsys) -> None:
    assert run(["data", "prepare", "--config=subtitles_tv"]) == 2
    assert "nothing to prepare" in capsys.readouterr().err
    assert run(["data", "prepare", "--config=tcr_nextqa", "--set", f"data.tasks.nextqa.root={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "NExT-QA is not in" in error
    assert error.count("\n") == 1
