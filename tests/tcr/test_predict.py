"""A person's question gets the answer that evaluation gets, and whatever cannot be asked is said in one line."""

import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tcr

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, save_tree, unflatten
from storyjax.models.t5_decoding import Decoding
from storyjax.tcr.answer import Answer, clock, find_moments
from storyjax.tcr.figure import draw, in_columns
from storyjax.tcr.loader import ExampleLoader, Lengths, VideoExamples, answer_ids
from storyjax.tcr.predict import Predictor
from storyjax.tcr.tasks import TASKS, Options
from storyjax.train.checkpoint import Checkpoints
from storyjax.train.mesh import make_mesh
from storyjax.train.optim import make_optimizer
from storyjax.train.settings import MeshSettings, OptimSettings
from storyjax.train.step import new_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def checkpoint(folder: pathlib.Path) -> pathlib.Path:
    return tiny_tcr.write_checkpoint(folder)


@pytest.fixture(scope="module")
def film(folder: pathlib.Path) -> pathlib.Path:
    return tiny_tcr.write_film(folder / "film.mp4")


@pytest.fixture(scope="module")
def predictor(checkpoint: pathlib.Path) -> Predictor:
    return Predictor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def answer(predictor: Predictor, film: pathlib.Path) -> Answer:
    return predictor.ask(film, tiny_tcr.QUESTION, tiny_tcr.OPTIONS)


def test_answers_as_evaluation_does(predictor: Predictor, film: pathlib.Path, answer: Answer) -> None:
    model = predictor.model
    lengths = Lengths(6, 1, 12, 64, answer_ids(predictor.tokenizer, 5).shape[1])
    record = {
        "video_id": "film",
        "video": film.read_bytes(),
        "segment": (0.0, -1.0),
        "question": [tiny_tcr.QUESTION],
        "options": [tiny_tcr.OPTIONS],
        "answer": [0],
        "type": ["TN"],
    }
    make, size = functools.partial(TASKS["nextqa"].make, options=Options()), model.vision.config.image_size
    loader = ExampleLoader(make, lengths, model.resampler.sizes, size, predictor.tokenizer, train=False)
    batch = jax.tree.map(lambda a: np.asarray(a)[None], loader(VideoExamples(record, (0,)), np.random.default_rng(0)))
    scores, seen = predictor._program(5, predictor.frames)(predictor.params, batch)
    np.testing.assert_allclose(answer.probabilities, np.exp(scores[0, 0]), atol=1e-5)
    np.testing.assert_allclose(answer.attention, seen[0, 0], atol=1e-5)
    assert answer.text == tiny_tcr.OPTIONS[answer.option]
    assert answer.probability == max(answer.probabilities)
    assert len(set(answer.probabilities)) == 5


def test_any_number_of_frames_and_options(predictor: Predictor, film: pathlib.Path) -> None:
    answer = predictor.ask(film, tiny_tcr.QUESTION, ["ran", "sang"], frames=1)
    assert len(answer.probabilities) == 2
    assert answer.attention == pytest.approx((1.0,))
    assert answer.moments == ((0.0, answer.duration_s, 1.0),)


def test_answers_freely(predictor: Predictor, film: pathlib.Path) -> None:
    answer = predictor.ask(film, "who danced ?")
    assert answer.option is None
    assert answer.options == ()
    assert 0 < answer.probability < 1
    ids = predictor.tokenizer.encode(answer.text)
    assert ids
    assert predictor.tokenizer.unk_id not in ids
    assert predictor.ask(film, "who danced ?") == answer


def test_looks_at_a_segment_alone(predictor: Predictor, film: pathlib.Path) -> None:
    (answer,) = predictor.ask_all(film, ["who danced ?"], segment=(1.0, 2.0))
    assert answer.segment == (1.0, 2.0)
    assert 1.0 <= min(answer.seconds) < max(answer.seconds) <= 2.0
    with pytest.raises(StoryjaxError, match="past its end"):
        predictor.ask_all(film, ["who danced ?"], segment=(1.0, 1000.0))


def test_beams_find_what_is_at_least_as_likely(predictor: Predictor, film: pathlib.Path, monkeypatch) -> None:
    greedy = predictor.ask(film, "who danced ?")
    monkeypatch.setattr(predictor, "decoding", Decoding(beams=3, length_penalty=0.0))
    assert predictor.ask(film, "who danced ?").probability >= greedy.probability


def test_the_same_shape_is_compiled_once(predictor: Predictor, film: pathlib.Path) -> None:
    predictor.ask(film, tiny_tcr.QUESTION, tiny_tcr.OPTIONS)
    program = predictor._program(5, predictor.frames)
    compiled = program._cache_size()
    predictor.ask(film, "who ran ?", ["mia", "ben", "ana", "they", "nobody"])
    assert predictor._program(5, predictor.frames) is program
    assert program._cache_size() == compiled


def test_tells_what_it_does_not_know(predictor: Predictor, film: pathlib.Path) -> None:
    answer = predictor.ask(film, "Did the Zebra dance ?", ["yes, Zebra", "no", "ana", "ben", "mia"])
    assert answer.warnings == ("the model does not know: zebra, yes, no",)
    answer = predictor.ask(film, " ".join(["what did ana do right after ben danced"] * 3), tiny_tcr.OPTIONS)
    assert answer.warnings[0].endswith("'what did ana do right after ben danced what did ana do'"[-20:])


def test_tells_that_other_videos_are_strange_to_it(predictor: Predictor, folder: pathlib.Path) -> None:
    wide = tiny_tcr.write_film(folder / "wide.mp4", size=(64, 48))
    assert "nothing but StoryWorld" in predictor.ask(wide, tiny_tcr.QUESTION, tiny_tcr.OPTIONS).warnings[0]


def test_loads_a_runs_checkpoint(checkpoint: pathlib.Path, predictor: Predictor, tmp_path: pathlib.Path) -> None:
    shutil.copy(checkpoint / "config.json", tmp_path)
    trainable = jax.tree.map(jnp.asarray, unflatten(load_flat(checkpoint)))
    checkpoints = Checkpoints(tmp_path)
    state = new_state(trainable, make_optimizer(OptimSettings(), 1), make_mesh(MeshSettings()))
    checkpoints.save(state, {})
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, Predictor.from_pretrained(tmp_path).params, predictor.params)


def test_the_model_that_ships_is_the_default() -> None:
    shipped = Predictor.from_pretrained()
    assert shipped.source == "shipped:tcr_nextqa_storyworld"
    assert shipped._unknown_words("what did ana do right after ben danced ?") == []


def test_refuses_what_is_no_tcr(checkpoint: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoryjaxError, match=r"nowhere is no trained TCR: nowhere/config\.json cannot be read"):
        Predictor.from_pretrained("nowhere")
    with pytest.raises(StoryjaxError, match="no weights named 'tcr_nxtqa'"):
        Predictor.from_pretrained("shipped:tcr_nxtqa")
    with pytest.raises(StoryjaxError, match="holds a model of llm, which is not a TCR"):
        Predictor.from_pretrained(checkpoint.parent / "llm")
    with pytest.raises(StoryjaxError, match=r"is no trained TCR: .*config\.json cannot be read"):
        Predictor.from_pretrained(tmp_path)
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"experiment": "embedded.t5"}))
    with pytest.raises(StoryjaxError, match=r"holds embedded\.t5, which is not a TCR"):
        Predictor.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    flat = load_flat(checkpoint)
    flat["tcr/queries"] = flat["tcr/queries"][:3]
    save_tree(tmp_path / "model.safetensors", flat)
    with pytest.raises(StoryjaxError, match="1 misshapen: tcr/queries"):
        Predictor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("question", "options", "frames", "message"),
    [
        (" ", None, None, "question is empty"),
        ("who ?", ["ana"], None, "1 option given"),
        ("who ?", ["ana"] * 9, None, "9 options given: give 2 to 8"),
        ("who ?", ["ana", " "], None, "Option B is empty"),
        ("who ?", ["ana", "ben", "ana"], None, "Option A, 'ana', is there twice"),
        ("who ?", None, 0, "at least one"),
    ],
)
def test_refuses_what_cannot_be_asked(predictor: Predictor, film, question, options, frames, message) -> None:
    with pytest.raises(StoryjaxError, match=message):
        predictor.ask(film, question, options, frames)


def test_moments_are_where_the_attention_is() -> None:
    attention = [0.02, 0.02, 0.2, 0.3, 0.02, 0.02, 0.2, 0.02, 0.1, 0.1]
    moments = find_moments(attention, duration_s=20.0)
    assert [(m.start_s, m.end_s) for m in moments] == [(4.0, 8.0), (12.0, 14.0)]
    assert [m.share for m in moments] == pytest.approx([0.5, 0.2])
    assert find_moments([0.25, 0.3, 0.2, 0.25], 8.0) == ((0.0, 8.0, 1.0),)
    assert [clock(s, d) for s, d in ((3.44, 9.0), (42.0, 90.0), (3727.0, 4000.0))] == ["3.4 s", "0:42", "1:02:07"]


def test_the_answer_as_json(answer: Answer) -> None:
    told = json.loads(json.dumps(answer.to_json()))
    assert told["text"] == answer.text
    assert len(told["attention"]) == 6
    assert set(told["moments"][0]) == {"start_s", "end_s", "share"}


def test_figure_shows_frames_by_attention(answer: Answer, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "figure.png"
    picture = draw(answer, path)
    assert path.stat().st_size > 1000
    assert picture.width == 1600
    # Of more frames than there is room for, each segment shows the one that got most attention.
    attention = np.full(100, 0.01)
    attention[[3, 50, 99]] = 0.1
    shown = in_columns(attention, 48)
    assert len(shown) == 48
    assert {3, 50, 99} <= set(shown)
    assert sorted(shown) == shown
    assert in_columns(attention[:5], 48) == [0, 1, 2, 3, 4]


def test_figure_cannot_be_written(answer: Answer, tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoryjaxError, match=r"figure\.doc: .*\.png"):
        draw(answer, tmp_path / "figure.doc")
    with pytest.raises(StoryjaxError, match="no folder"):
        draw(answer, tmp_path / "none" / "figure.png")
