"""The `storyjax` command: it teaches, answers, and says in one line what a person can fix."""

import functools
import json
import pathlib
import resource
import subprocess
import sys

import pytest
import tiny_tcr
from PIL import Image

from storyjax.cli import main as cli
from storyjax.cli.main import run
from storyjax.core.config import load_config
from storyjax.storyworld.export.nextqa import COLUMNS
from storyjax.tcr import predict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A video, things that are none, a checkpoint and one of another model."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_tcr.write_checkpoint(folder / "model")
    tiny_tcr.write_film(folder / "film.mp4")
    tiny_tcr.write_film(folder / "sound.mp4", sound_only=True)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video at all, but long enough to be looked into\n" * 40)
    (folder / "cut.mp4").write_bytes((folder / "film.mp4").read_bytes()[:1200])
    return folder


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def test_help_is_quick_and_loads_no_jax(tmp_path: pathlib.Path) -> None:
    code = (
        "import sys; from storyjax.cli.main import run; code = run(['--help']);"
        " assert not {'jax', 'numpy', 'tensorflow_datasets'} & set(sys.modules); sys.exit(code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The processor's seconds, for a busy machine may take longer over them.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    for command in (
        "storyjax ask VIDEO",
        "storyjax track VIDEO",
        "storyjax find",
        "storyjax reproduce",
        "storyjax data storyworld",
    ):
        assert command in told.stdout


@pytest.mark.parametrize(
    "command",
    [
        "ask",
        "track",
        "data tracks",
        "find",
        "find enrol",
        "find forget",
        "find list",
        "find index",
        "reproduce",
        "data",
        "data storyworld",
        "data album",
        "data features",
        "models",
        "models list",
        "models get",
        "import",
        "export",
    ],
)
def test_every_command_has_examples(command: str, capsys) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert f"\n  storyjax {command} " in capsys.readouterr().out


def test_version_and_list(capsys) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "storyjax 0.2.0\n"
    assert run(["reproduce", "--list"]) == 0
    assert "3.6a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["aks"], "there is no command 'aks'. Did you mean 'ask'?"),
        (["--verson"], "Did you mean '--version'?"),
        (["ask"], "the following arguments are required: VIDEO"),
        (["ask", "film.mp4"], "nothing is asked: give one of a question, --caption"),
        (["ask", "film.mp4", "who ?", "--checkpiont", "x"], "Did you mean '--checkpoint'?"),
        (["ask", "film.mp4", "who ?", "--frames", "many"], "invalid int value: 'many'"),
        (["reproduce"], "say which table"),
        (["reproduce", "3.66"], "unknown '3.66'. Did you mean '3.6'?"),
        (["reproduce", "3.6", "--seeds", "0"], "--seeds is 0"),
        (["data", "storywrld"], "Did you mean 'storyworld'?"),
        (["data", "storyworld", "--out", "x", "--train", "0"], "split 'train' should have 1 to"),
        (["data", "storyworld", "--out", "model"], "holds something else than StoryWorld"),
        (["ask", "none.mp4", "who ?"], "none.mp4 cannot be read (No such file or directory)"),
        (["ask", "empty.mp4", "who ?"], "empty.mp4 is empty"),
        (["ask", "text.mp4", "who ?"], "text.mp4 is not a video"),
        (["ask", "cut.mp4", "who ?"], "cut.mp4 "),
        (["ask", "sound.mp4", "who ?"], "sound.mp4 holds sound but no video"),
        (
            ["ask", "film.mp4", "who ?", "--checkpoint", "none"],
            "none is no trained TCR: none/config.json cannot be read",
        ),
        (["ask", "film.mp4", "who ?", "--checkpoint", "shipped:none"], "no weights named 'none' come with storyjax"),
        (["ask", "film.mp4", "who ?", "--checkpoint", "model/llm"], "not a TCR"),
        (["ask", "film.mp4", " ", "--checkpoint", "model/tcr"], "the question is empty"),
        (["ask", "film.mp4", "who ?", "--checkpoint", "model/tcr", "--options", "ana"], "1 option given"),
        (["ask", "film.mp4", "who ?", "--checkpoint", "model/tcr", "--options", *"abcdefghi"], "9 options given"),
        (["ask", "film.mp4", "who ?", "--checkpoint", "model/tcr", "--frames", "0"], "at least one must be looked at"),
        (["ask", "film.mp4", "who ?", "--figure", "none/a.png"], "there is no folder none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line_and_exit_code_2(arguments: list[str], message: str, here, capsys) -> None:
    assert run(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("storyjax: error: ")
    assert told.err.count("\n") == 1
    assert message in told.err


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("ask film.mp4 --frames 3 who?", "question", ["who?"]),
        ("ask --json film.mp4 who? --frames 3 where?", "question", ["who?", "where?"]),
        ("subtitle one.mp4 --out x two.mp4", "videos", ["one.mp4", "two.mp4"]),
        ("find enrol ana one.jpg --thing two.jpg", "photos", ["one.jpg"]),
    ],
)
def test_words_may_stand_after_and_between_flags(words: str, name: str, value: object) -> None:
    parser, made = cli._parser()
    arguments, extra = cli._parse(parser, made, cli._with_action(words.split(), made))
    assert (getattr(arguments, name), extra) == (value, [])


def test_asks(here: pathlib.Path, tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    # One predictor for both times, because most of its time goes into compiling.
    monkeypatch.setattr(predict.Predictor, "from_pretrained", functools.cache(predict.Predictor.from_pretrained))
    figure = tmp_path / "looked.png"
    asked = ["ask", "film.mp4", tiny_tcr.QUESTION, "--checkpoint", "model/tcr", "--frames", "3"]
    asked += ["--options", *tiny_tcr.OPTIONS, "zebra"]
    assert run([*asked, "--figure", str(figure)]) == 0
    told = capsys.readouterr()
    assert told.err == "storyjax: note: the model does not know: zebra\n"
    for option in tiny_tcr.OPTIONS:
        assert f"  {option}  " in told.out
    assert "\nanswer: " in told.out
    assert "\nlooked: " in told.out
    with Image.open(figure) as picture:
        assert picture.width == 1600
    assert run([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == told["options"][told["option"]]
    assert told["checkpoint"] == "model/tcr"
    assert len(told["attention"]) == 3
    # An image is a video of one frame, and nothing that is looked at is written over.
    still = tmp_path / "still.png"
    Image.new("RGB", (40, 40), (200, 30, 20)).save(still)
    about_still = [str(still) if word == "film.mp4" else word for word in asked]
    assert run([*about_still, "--json"]) == 0
    told = capsys.readouterr()
    assert "is an image: taken as a video of one frame" in told.err
    assert (json.loads(told.out)["video"], json.loads(told.out)["duration_s"]) == (str(still), 1.0)
    (tmp_path / "link.png").symlink_to(still)
    before = still.read_bytes()
    for figure in (still, tmp_path / "link.png"):
        assert run([*about_still, "--figure", str(figure)]) == 2
        assert "a file that is read, which would be lost" in capsys.readouterr().err
    assert still.read_bytes() == before


def test_interrupted_and_out_of_reach(here: pathlib.Path, monkeypatch, capsys) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict.Predictor, "from_pretrained", stop)
    assert run(["ask", "film.mp4", "who ?"]) == 130
    assert capsys.readouterr().err == "storyjax: error: interrupted\n"

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "model/tcr")

    monkeypatch.setattr(predict.Predictor, "from_pretrained", refuse)
    assert run(["ask", "film.mp4", "who ?"]) == 2
    assert capsys.readouterr().err == "storyjax: error: Permission denied: model/tcr\n"


def test_writes_storyworld(tmp_path: pathlib.Path, capsys) -> None:
    out = tmp_path / "world"
    assert run(["data", "storyworld", "--out", str(out), "--train", "1", "--val", "1", "--test", "1"]) == 0
    assert f"3 stories in {out}" in capsys.readouterr().out
    assert (out / "test.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert len(list(out.glob("NExTVideo/*/*.mp4"))) == 3


def test_train_and_eval_are_the_main_program(capsys, tmp_path) -> None:
    assert run(["train", "tcr_nextqa:embedded", "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: storyjax train --config" in out
    assert "The keys of tcr_nextqa:embedded" in out
    assert run(["eval", "tcr_nextqa:embedded", f"--workdir={tmp_path}", "--config.optim.slow=x"]) == 2
    assert "config.optim.slow is called config.optim.lr_multipliers now" in capsys.readouterr().err
    assert run(["train", "tcr_nextq", f"--workdir={tmp_path}"]) == 2
    assert "no file tcr_nextq. Did you mean 'tcr_nextqa'?" in capsys.readouterr().err


def test_a_config_is_found_by_its_name_anywhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_name, by_path = load_config("tcr_nextqa:embedded"), load_config("configs/tcr_nextqa.py:embedded")
    assert by_name.to_dict() == by_path.to_dict()
    text = "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'a': 1})"
    (tmp_path / "tcr_nextqa.py").write_text(text)
    assert load_config("tcr_nextqa.py").to_dict() == {"a": 1}  # a file that is there goes first
