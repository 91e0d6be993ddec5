"""What a video can be asked beside questions, and the Q-Former in the TCR's place."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tcr
from ml_collections import ConfigDict

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.tcr import predict_tasks
from storyjax.tcr.config import make_model
from storyjax.tcr.heads.experiment import build
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.predict import Predictor
from storyjax.tcr.qformer_baseline import CLIP, ClipAverage, QFormerResampler, answering
from storyjax.train.settings import complete


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tcr.write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tcr.write_film(tmp_path_factory.mktemp("film") / "film.mp4", frames=40)


def test_captions_moments_and_what_comes_next(predictor: Predictor, film: Path) -> None:
    caption = predict_tasks.caption(predictor, film, 2.0, 4.0)
    assert caption.question == "what happens from 2 to 4 s"
    assert caption.text
    assert caption.duration_s == pytest.approx(10, abs=0.3)
    other = predict_tasks.caption(predictor, film, 6.0, 9.0)
    assert other.attention != caption.attention  # the times are what it is conditioned on
    moment = predict_tasks.when(predictor, film, "ana danced")
    assert f"{moment.moments[0].start_s:.1f} s to" in moment.text
    assert moment.probability == pytest.approx(moment.moments[0].share)
    ahead = predict_tasks.anticipate(predictor, film, "kick ball@2, dance park@3.5")
    assert ahead.question == "what comes next"
    for other in ("", "kick ball, dance park", "kick ball@2, dance park@7"):  # actions and times are looked by
        assert predict_tasks.anticipate(predictor, film, other).attention != ahead.attention
    assert not ahead.warnings
    assert "a guess" in predict_tasks.anticipate(predictor, film).warnings[0]


def test_actions_so_far_have_times_where_they_are_said() -> None:
    assert predict_tasks.parse_actions_so_far("take  cup@3.5, wash cup,") == [("take cup", 3.5), ("wash cup", None)]
    bracketed = [("(take, cup)", 3.5), ("(wash, cup)", None)]
    assert predict_tasks.parse_actions_so_far("(take, cup)@3.5, (wash, cup)") == bracketed
    for wrong in ("take cup@", "take cup@soon", "take cup@1@2"):
        with pytest.raises(StoryjaxError, match="behind @"):
            predict_tasks.parse_actions_so_far(wrong)


def test_an_action_that_was_cut_off_is_left_out() -> None:
    assert predict_tasks.whole_actions("take cup, wash cup, put") == "take cup, wash cup"
    assert predict_tasks.whole_actions("(take, cup), (wash, cup), (put, ") == "(take, cup), (wash, cup)"
    assert predict_tasks.whole_actions("take") == "take"


def test_what_cannot_be_told_is_one_line(predictor: Predictor, film: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(StoryjaxError, match="past its end"):
        predict_tasks.caption(predictor, film, 8.0, 30.0)
    with pytest.raises(StoryjaxError, match="--when is empty"):
        predict_tasks.when(predictor, film, "  ")
    for arguments, message in (
        ([], "nothing is asked: give one of a question, --caption"),
        (["--caption", "6-8", "--when", "x"], "--caption and --when are too many"),
        (["who ?", "--count"], "a question and --count are too many"),
        (["--caption", "8-6"], "start before end"),
        (["--caption", "soon"], "--caption 'soon': give a segment in seconds"),
        (["--when", "x", "--options", "a", "b"], "--options are for a question, not for --when"),
        (["--count", "--frames", "8"], "--frames is not for --count"),
        (["--count", "--checkpoint", "shipped:tcr_storyworld"], "does not count: train configs/tcr_countix.py"),
    ):
        assert run(["ask", str(film), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_the_command_tells(checkpoint: Path, film: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["ask", str(film), "--caption", "2-4", "--checkpoint", str(checkpoint), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["question"] == "what happens from 2 to 4 s"
    assert told["option"] is None


def test_counting_by_what_ships(film: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["ask", str(film), "--count", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == predict_tasks.SHIPPED_COUNTER
    assert told["text"].split()[1] == "times"
    assert told["question"] == "how many repetitions"


def test_counting_by_a_checkpoint(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    data = {
        "task": "counting",
        "root": {"countix": "nowhere", "kinetics400": "nowhere"},
        "frames": 6,
        "condition_length": 4,
        "hidden": 16,
    }
    config = ConfigDict({"experiment": "tcr.heads", "model": config["model"], "data": data})
    shapes = flatten(jax.eval_shape(build(complete(config)).init, jax.random.key(0)))
    rng = np.random.default_rng(0)
    weights = {path: rng.normal(0, 0.1, leaf.shape) for path, leaf in shapes.items() if not path.startswith("vision/")}
    save_tree(tmp_path / "model.safetensors", weights, dtype=np.float32)
    (tmp_path / "config.json").write_text(config.to_json())
    answer = predict_tasks.count(str(tmp_path), film)
    assert answer.text.split()[1] == "times"
    assert float(answer.text.split("(")[1].rstrip(")")) > 0
    named = predict_tasks.count(str(tmp_path), film, "kicking the ball")
    assert named.question == "how many repetitions of kicking the ball"
    assert named.text != answer.text  # the action is what it is prompted with
    with pytest.raises(StoryjaxError, match="does not count: train"):
        predict_tasks.count(str(checkpoint), film)


def make_baseline(checkpoint: Path) -> VideoLanguageModel:
    config = ConfigDict(json.loads((checkpoint / "config.json").read_text()))
    sizes = {"queries": 3, "width": 16, "depth": 2, "heads": 2, "mlp_width": 16}
    config.model.qformer = ConfigDict({"sizes": sizes})
    return make_model(config.model)


def test_the_qformer_takes_the_tcrs_place(checkpoint: Path) -> None:
    model = make_baseline(checkpoint)
    assert isinstance(model.resampler, QFormerResampler)
    assert model.resampler.name == "qformer"
    assert set(jax.eval_shape(model.init, jax.random.key(0))) == {"vision", "qformer", "llm"}
    answers = np.array([[5, 1], [6, 1], [7, 1]], np.int32)
    assert type(answering(model, CLIP, lambda: answers)) is QuestionAnswering
    average = answering(model, 2 * CLIP, lambda: answers)
    assert type(average) is ClipAverage
    params = jax.jit(model.init)(jax.random.key(0))
    rng = np.random.default_rng(0)

    def batch(frames: np.ndarray) -> dict:
        t = frames.shape[1]
        return {
            "frames": frames,
            "seconds": np.arange(t, dtype=np.float32)[None],
            "frame_mask": np.ones((1, t), bool),
            "task": np.zeros((1, 1), np.int32),
            "condition": np.ones((1, 1, 4), np.int32),
            "condition_mask": np.ones((1, 1, 4), bool),
            "prompt": np.full((1, 1, 4), 9, np.int32),
            "prompt_mask": np.ones((1, 1, 4), bool),
        }

    frames = rng.integers(0, 256, (1, 2 * CLIP, 16, 16, 3)).astype(np.uint8)
    one = jax.jit(lambda b: QuestionAnswering(model, lambda: answers).scores(params, b, False)[0])
    each = [one(batch(frames[:, start : start + CLIP])) for start in (0, CLIP)]
    whole = jax.jit(lambda b: average.scores(params, b, False)[0])(batch(frames))
    np.testing.assert_allclose(jnp.exp(whole), np.mean(np.exp(each), axis=0), rtol=1e-5)
    assert np.abs(np.asarray(each[0] - each[1])).max() > 1e-4
