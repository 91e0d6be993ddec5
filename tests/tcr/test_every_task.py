"""Every task of thesis Ch. 3 that goes through the language model: how it is asked, loaded, scored and configured."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tcr
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, unflatten
from storyjax.data.prompts import moments_prompt, time_bin, timestamps
from storyjax.data.streams import StreamSpec
from storyjax.data.text import WordTokenizer
from storyjax.metrics.grounding import Detection
from storyjax.models.t5 import T5, T5Config
from storyjax.storyworld.export import long_videos
from storyjax.storyworld.story.story import StoryStyle
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.tcr import experiment
from storyjax.tcr.config import TaskData, TasksData, make_model
from storyjax.tcr.decoding import parse_actions, reduced_vocabulary, sample, sample_in_turn, spell
from storyjax.tcr.evaluators import ABLATIONS, Timestamps, detections, timed
from storyjax.tcr.loader import Ablation, VideoExamples, answer_ids
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.presets import embedded_model
from storyjax.tcr.task_source import TaskSource
from storyjax.tcr.tasks import TASKS, Options, inside
from storyjax.train.experiment import BatchPrediction

TOKENIZER = WordTokenizer.from_words(vocabulary())
STYLE = StoryStyle(events=8, event_seconds=1.0, scenes=2, mishaps=1)
CONFIGS = Path(__file__).parents[2] / "configs"
EVAL = {"captioning": "val", "egoschema": "subset", "lta": "val", "mq": "val", "nlq": "val", "msrvtt": "test"}
OPTIONS = Options(bins=20, brackets=False, conditioned=2, who="person")
# The folder that each data set is written into.
WORLDS = {
    "yttemporal": "yttemporal",
    "ego4d_narrations": "egoschema",
    "egoschema": "egoschema",
    "ego4d_lta": "ego4d",
    "ego4d_mq": "ego4d",
    "ego4d_nlq": "ego4d",
    "msrvtt": "msrvtt",
}
BATCH = StreamSpec(batch_size=2, seed=0, steps=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    tiny_tcr.write_checkpoint(root / "tiny")
    patched = pytest.MonkeyPatch()
    patched.setattr(long_videos, "SIZE", 32)
    long_videos.export_yttemporal(root / "yttemporal", {"train": 3, "val": 2}, STYLE, fps=1)
    long_videos.export_egoschema(root / "egoschema", {"train": 3, "test": 5}, STYLE, fps=1)
    long_videos.export_ego4d(root / "ego4d", {"train": 2, "val": 2}, fps=1)
    long_videos.export_msrvtt(root / "msrvtt", {"train": 3, "test": 2}, fps=2)
    patched.undo()
    return root


@pytest.fixture(scope="module")
def model(root: Path):
    config = ConfigDict(json.loads((root / "tiny" / "tcr" / "config.json").read_text()))
    return make_model(config.model)


def source_of(name: str, data: TaskData, model, tokenizer: WordTokenizer) -> TaskSource:
    return TaskSource(name, data, model, lambda: tokenizer, lambda: answer_ids(tokenizer, 5), lambda: "", 0)


def make_source(root: Path, model, name: str, **more) -> TaskSource:
    sizes = {"frames": 4, "condition_length": 12, "prompt_length": 64, "target_length": 62, "eval_examples": 1}
    data = TaskData(
        task=name,
        root=str(root / WORLDS[TASKS[name].dataset]),
        cache_dir=str(root / "prepared"),
        eval_splits=(EVAL[name],) if name in EVAL else (),
        **{**sizes, "options": OPTIONS, "candidates": 2, **more},
    )
    return source_of(name, data, model, TOKENIZER)


def asked(root: Path, model, name: str, row: int = 0, rng: np.random.Generator | None = None, **more):
    source = make_source(root, model, name, **more)
    record = source.records("subset" if name == "egoschema" else "train")[0]
    return source.make(record, row, 45.0, rng), record


def test_what_is_asked_is_what_the_thesis_asks(root: Path, model) -> None:
    one, record = asked(root, model, "captioning", 2)
    start, end = float(record["start"][2]), float(record["end"][2])
    assert (one.task, one.condition) == ("CPN", (start, end))
    assert one.prompt == f"What happens from {round(start)} to {round(end)} second?"
    assert one.target == record["sentence"][2]
    one, _ = asked(root, model, "grounding", 2)
    assert (one.task, one.condition) == ("TRG", (record["sentence"][2],))
    assert one.prompt == f"Reconstruct the following sentence: <extra_id_0> <extra_id_1> {record['sentence'][2]}"
    assert one.target == f"<extra_id_0> {round(start)} <extra_id_1> {round(end)}"
    one, record = asked(root, model, "egoschema")
    assert (one.task, one.condition) == ("QA", (record["question"][0],))
    assert one.target == f"Option {'ABCDE'[one.answer]}"
    one, record = asked(root, model, "mq", options=Options())
    assert (one.task, one.condition) == ("TRG", (record["label"][0],))
    assert one.prompt.endswith("is happening. The timestamps range from 1 to 1000.")
    one, record = asked(root, model, "msrvtt", 1)
    assert (one.task, one.condition, one.target) == ("CPN", (0.0, 45.0), record["caption"][1])


def test_denoising_leaves_what_was_not_masked(root: Path, model) -> None:
    shapes = set()
    for seed in range(8):
        one, record = asked(root, model, "denoising", 1, np.random.default_rng(seed))
        shapes.add(one.prompt.count("extra_id"))
        parts = one.target.split("<extra_id_")
        filled = one.prompt
        for part in parts[1:]:
            number, words = part.split(">", 1)
            filled = filled.replace(f"<extra_id_{number}>", words.strip())
        start, end = round(float(record["start"][1])), round(float(record["end"][1]))
        assert filled.split() == [str(start), str(end), *record["sentence"][1].split()]
    assert shapes == {1, 2}


def test_anticipation_shows_eight_actions_and_asks_for_twenty(root: Path, model) -> None:
    one, record = asked(root, model, "lta", 1, options=Options(video="before"))
    actions = [f"({v}, {n})" for v, n in zip(record["verb"], record["noun"], strict=True)]
    assert one.prompt.endswith(f"consists of 28 actions. Actions: {', '.join(actions[1:9])},")
    assert one.target == ", ".join(actions[9:29])
    assert len(one.condition) == 16
    assert one.condition[:2] == (float(record["start"][1]), actions[1])
    assert one.until == pytest.approx(float(record["end"][8]))
    assert asked(root, model, "lta", 1, options=Options(conditioned=0))[0].condition == ()
    assert asked(root, model, "lta", 1)[0].until is None


def test_anticipation_may_begin_at_every_few_actions(root: Path, model) -> None:
    few = Options(observed=2, conditioned=2, stride=4, brackets=False)
    one, record = asked(root, model, "lta", 1, options=few)
    actions = [f"{v} {n}" for v, n in zip(record["verb"], record["noun"], strict=True)]
    assert one.condition[1::2] == tuple(actions[4:6])
    assert one.target == ", ".join(actions[6:26])
    assert TASKS["lta"].count(record, few) == 3  # of 30 actions: at 0, 4 and 8
    (anticipation,) = make_source(root, model, "lta", options=few).evaluators()
    right = score(anticipation, lambda batch, place: batch["target"][place, :1])
    assert right["lta/action_ed"] == 0.0
    # A routine comes round after three to six actions, so two of them in turn are right at times, and more than one.
    assert 0.2 < right["lta/cycled_action_ed"] < right["lta/repeated_action_ed"]


def test_what_an_annotation_tells_of_after_the_end_is_not_asked(root: Path, model) -> None:
    """Builders need not know how long a film is."""
    for name in ("captioning", "grounding", "denoising", "matching", "narration", "nlq", "lta", "mq"):
        source = make_source(root, model, name, options=Options(bins=20, brackets=False, observed=2))
        record = dict(source.records("train")[0])
        start, end = (np.array(record[key], float) for key in ("start", "end"))
        count = TASKS[name].count(record, source.data.options)
        with pytest.raises(StoryjaxError, match=r"ends at 2\.0 s, and this is of"):
            source.make({**record, "start": start + 2, "end": end + 2}, count - 1, 2.0, None)
    source = make_source(root, model, "nlq", options=Options(bins=20))
    late = {**record, "query": ["when ?"], "start": [8.0], "end": [99.0]}
    assert max(map(int, source.make(late, 0, 10.0, None).target.split())) == 20
    one = {"label": ["a", "a", "b"], "start": [1.0, 30.0, 2.0], "end": [2.0, 31.0, 3.0]}
    moments = make_source(root, model, "mq", options=Options(bins=10))
    assert moments.make({**record, **one}, 0, 10.0, None).target == "2"


def test_one_that_is_past_the_end_does_not_cost_the_others_of_its_film(root: Path, model) -> None:
    source = make_source(root, model, "nlq", options=Options(bins=90), eval_examples=2)
    item = source.groups("val", None)[0]
    late = {**item.record, "start": [500.0, *item.record["start"][1:]], "end": [510.0, *item.record["end"][1:]]}
    loader = source.loader(False, Ablation())
    batch = loader(VideoExamples(late, (0, 1)), np.random.default_rng(0))
    assert batch["valid"].tolist() == [False, True]
    assert not batch["target"][0].any()  # as filling is: no loss
    np.testing.assert_array_equal(batch["target"][1], loader(item, np.random.default_rng(0))["target"][1])
    with pytest.raises(StoryjaxError, match=r"and this is of 500 s"):
        loader(VideoExamples(late, (0,)), np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["mq", "nlq"])
def test_what_is_past_the_end_is_not_scored(kind: str) -> None:
    columns = {"label": ["a", "a", "b"], "query": ["q"] * 3, "start": [1.0, 30.0, 40.0], "end": [2.0, 31.0, 41.0]}
    columns |= {"start": np.array(columns["start"]), "end": np.array(columns["end"])}
    evaluator = timed(
        kind,
        lambda spec: [],
        lambda params, batch: None,
        lambda index: (columns, (0, 1)),
        kind,
        lambda found, _: list(found),
    )
    batch = {
        "index": np.array([0]),
        "record_valid": np.array([True]),
        "valid": np.array([[True, False]]),
        "duration": np.array([10.0]),
    }
    found = np.array([[[Detection(1.0, 2.0, 1.0)], [Detection(0.0, 9.0, 1.0)]]], object)
    results = evaluator.compute(evaluator.accumulate(None, found, batch))
    assert results["mq/avg_map" if kind == "mq" else "nlq/mr@1"] == 1.0
    assert inside([(1.0, 2.0), (8.0, 12.0), (10.0, 11.0)], 10.0) == [(1.0, 2.0), (8.0, 10.0)]


def test_windows_that_see_different_parts_of_a_film_are_asked_one_at_a_time(root: Path, model) -> None:
    source = make_source(root, model, "lta", options=Options(video="before", brackets=False), eval_examples=2)
    item = source.groups("val", None)[0]
    with pytest.raises(StoryjaxError, match="eval_examples to 1"):
        source.loader(False, Ablation())(item, np.random.default_rng(0))
    paper = config_of("tcr_ego4d_lta", "paper")
    assert paper.data.tasks.lta.eval_examples == 1


def test_of_too_many_observed_actions_the_last_are_kept(root: Path, model) -> None:
    source = make_source(root, model, "lta", options=Options(brackets=False), condition_length=14)
    one, _ = asked(root, model, "lta", options=Options(brackets=False))
    loader = source.loader(False, Ablation())
    kept = loader.condition(one)
    assert 0 < len(kept) <= 14
    *_, time, action = one.condition
    tail = [*loader.spell(time), *loader.spell(action)]
    assert kept[-len(tail) :] == tail
    assert kept[0] >= loader.sizes.vocab_size  # whole pairs: a time comes first


def test_a_question_is_not_asked_without_its_last_options(root: Path, model) -> None:
    source = make_source(root, model, "egoschema", prompt_length=16)
    with pytest.raises(StoryjaxError, match="more than prompt_length 16"):
        source.loader(False, Ablation())(source.groups("subset", None)[0], np.random.default_rng(0))


def test_narrations_are_asked_by_their_tag(root: Path, model) -> None:
    _, record = asked(root, model, "narration")
    for kind, begins in (("C", "What does the person do from"), ("summary", "What happens from")):
        row = record["kind"].index(kind)
        one, _ = asked(root, model, "narration", row)
        start, end = float(record["start"][row]), float(record["end"][row])
        assert one.prompt == f"{begins} {round(start)} to {round(end)}?"
        # The TCR is prompted as for NExT-QA, with the question (§3.3.3).
        assert (one.task, one.condition) == ("QA", (begins, start, "to", end, "?"))


def test_every_task_token_that_is_evaluated_has_been_trained(root: Path, model) -> None:
    """In the run itself or, of [CPN] and [TRG], in pre-training; [QA] was not before EgoSchema."""
    tokens = {name: asked(root, model, name, options=OPTIONS)[0].task for name in TASKS if name != "nextqa"}
    tokens["nextqa"] = "QA"
    pretrained = {tokens[task.task] for task in config_of("tcr_ytt_pretrain", "paper").data.tasks.values()}
    assert pretrained == {"CPN", "TRG"}
    for path in sorted(CONFIGS.glob("tcr_*.py")):
        tasks = config_of(path.stem, "paper").data.get("tasks", {})
        trained = {tokens[task.task] for task in tasks.values() if task.get("train_split", "train") is not None}
        evaluated = {tokens[task.task] for task in tasks.values() if task.get("eval_splits")}
        assert evaluated <= trained | pretrained, path.stem


def test_timestamps_of_training_are_drawn_from_all_moments(root: Path, model) -> None:
    _, record = asked(root, model, "mq")
    drawn = set()
    for seed in range(20):
        one = make_source(root, model, "mq").make(record, 0, 45.0, np.random.default_rng(seed))
        drawn |= set(map(int, one.target.split()))
    rows = zip(record["label"], record["start"], record["end"], strict=True)
    inside = {
        stamp
        for label, start, end in rows
        if label == record["label"][0]
        for stamp in range(time_bin(float(start), 45.0, 20), time_bin(float(end) - 1e-3, 45.0, 20) + 1)
    }
    assert drawn == inside


def test_every_task_makes_batches_that_one_loss_takes(root: Path, model) -> None:
    flat = {}
    for name in ("vision", "llm", "tcr"):
        flat |= load_flat(root / "tiny" / name / "model.safetensors")
    params = unflatten({path: jnp.asarray(value) for path, value in flat.items()})
    loss = jax.jit(make_source(root, model, "captioning").task().loss)
    found = {}
    for name in TASKS:
        if name in ("nextqa", "egoschema", "matching"):
            continue
        stream = make_source(root, model, name).train_data(BATCH)
        batch = next(iter(stream))
        stream.close()
        assert batch["frames"].shape == (2, 4, 16, 16, 3)
        assert batch["condition_mask"].any(axis=-1).all()
        found[name] = float(loss(params, batch, jax.random.key(0))[0])
    assert all(np.isfinite(value) for value in found.values())
    assert len(set(found.values())) == len(found)  # each looks at targets of its own


def test_the_film_before_the_last_observed_action_is_all_that_is_seen(root: Path, model) -> None:
    source = make_source(root, model, "lta", options=Options(video="before", brackets=False))
    item = source.groups("val", None)[0]
    batch = source.loader(False, Ablation())(item, np.random.default_rng(0))
    until = float(item.record["end"][item.rows[0] + 7])
    assert batch["seconds"].max() <= until
    assert batch["seconds"].max() > until - until / 4 - 1
    assert batch["duration"] == pytest.approx(45, abs=1.1)


def stream_of(evaluator):
    stream = evaluator.data(BATCH)
    batches = list(stream)
    stream.close()
    return batches


def score(evaluator, answer) -> dict[str, float]:
    """What an evaluator makes of `answer(batch, place)`, an array for each exercise."""
    acc = None
    for batch in stream_of(evaluator):
        places = range(len(batch["record_valid"]))
        measured = np.stack([np.stack([answer(batch, place)]) for place in places])
        acc = evaluator.accumulate(acc, measured, batch)
    return evaluator.compute(acc)


def test_the_truth_scores_best_and_silence_worst(root: Path, model) -> None:
    (captions,) = make_source(root, model, "msrvtt").evaluators()
    told = score(captions, lambda batch, place: batch["target"][place, 0])
    assert told["msrvtt/cider"] > 5.0
    silent = score(captions, lambda batch, place: np.zeros(62, np.int32))
    assert silent["msrvtt/cider"] == 0.0
    anticipation, text_only = make_source(root, model, "lta", ablations=("text_only",)).evaluators()
    assert text_only.name == "lta_text_only"
    right = score(anticipation, lambda batch, place: np.stack([np.zeros(62, np.int32), batch["target"][place, 0]]))
    assert [right[f"lta/{key}_ed"] for key in ("verb", "noun", "action")] == [0.0, 0.0, 0.0]
    wrong = score(anticipation, lambda batch, place: np.zeros((2, 62), np.int32))
    assert wrong["lta/action_ed"] > 0.5
    assert wrong["lta/unparsed"] == 1.0


@pytest.mark.parametrize("name", ["mq", "nlq"])
def test_a_distribution_on_the_moments_finds_them(root: Path, model, name: str) -> None:
    source = make_source(root, model, name, options=Options(bins=90))
    (evaluator,) = source.evaluators()
    films = source.records("val").annotations

    def right(batch, place: int) -> np.ndarray:
        index, rows = source.groups("val", None).group(int(batch["index"][place]))
        film, row = films[index], rows[0]
        wanted = list(dict.fromkeys(film["label"]))[row] if name == "mq" else None
        pick = [i for i in range(len(film["start"])) if (film["label"][i] == wanted if wanted else i == row)]
        likely = np.full(90, 1e-6)
        for i in pick:
            likely[int(2 * film["start"][i]) : int(2 * film["end"][i])] = 1.0
        return likely / likely.sum()

    results = score(evaluator, right)
    assert results["mq/avg_map" if name == "mq" else "nlq/mr@1"] == pytest.approx(1.0)
    flat = score(evaluator, lambda batch, place: np.full(90, 1 / 90))
    assert flat["mq/avg_map" if name == "mq" else "nlq/mr@1"] < 0.3


def test_detections_are_the_runs_of_likely_timestamps() -> None:
    likely = np.array([0, 0, 0.2, 0.3, 0, 0, 0.5, 0])
    found = detections(likely, 16.0)
    assert [(d.start, d.end, d.score) for d in found[:2]] == [(12.0, 14.0, 0.5), (6.0, 8.0, 0.3)]
    again = detections(np.array([0, 0, 0.3, 0.3, 0, 0, 0.5, 0]), 16.0)
    assert [(d.start, d.end) for d in again[:2]] == [(12.0, 14.0), (4.0, 8.0)]


class Pieces(WordTokenizer):
    """A tokenizer that has no word for some numbers, as SentencePiece has not for most above a few hundred."""

    def encode(self, text: str) -> list[int]:
        return {"1": [3], "2": [4], "12": [3, 5], "123": [3, 5, 6]}.get(text, [7, int(text)])


def test_a_timestamp_is_as_likely_as_it_is_to_be_said_first() -> None:
    stamps = Timestamps.of(TOKENIZER, 20)
    assert stamps.words.shape == (20, 1)  # no end token: others may follow
    assert not stamps.within.any()
    scores = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    np.testing.assert_allclose(Timestamps.of(TOKENIZER, 3).first(scores), jnp.exp(scores), rtol=1e-6)
    pieces = Timestamps.of(Pieces.from_words(vocabulary()), 123)
    begun = np.full(123, 1e-9)
    begun[[0, 1, 11, 122]] = 0.6, 0.3, 0.5, 0.2  # "1" begins "12", which begins "123"
    first = pieces.first(jnp.log(jnp.asarray(begun / begun.sum()))[None])[0]
    np.testing.assert_allclose(first[jnp.array([0, 1, 11, 122])], np.array([0.1, 0.3, 0.3, 0.2]) / 0.9, atol=1e-5)


def test_moments_are_read_of_the_first_number_whatever_follows(root: Path, model, monkeypatch) -> None:
    """A language model that never ends behind one number."""

    def decoded(llm, params, encoded, mask, labels):
        assert (labels != TOKENIZER.eos_id).all()
        return 5.0 * (jnp.arange(labels.shape[0]) % 20 == 7), jnp.ones(labels.shape[0])

    monkeypatch.setattr("storyjax.models.answer_scoring.sequence_log_likelihood", decoded)
    monkeypatch.setattr(T5, "apply", lambda self, variables, encoded, method: ())  # keys and values of its text
    monkeypatch.setattr(
        QuestionAnswering, "encode", lambda self, *rest, **more: (jnp.zeros((2, 1, 4)), jnp.ones((2, 1), bool), None)
    )
    (evaluator,) = make_source(root, model, "nlq").evaluators()
    likely = evaluator.eval_step({"llm": {}}, {"task": jnp.zeros((2, 1), jnp.int32)})
    assert likely.shape == (2, 1, 20)
    assert (jnp.argmax(likely, axis=-1) == 7).all()


def test_variations_of_anticipation_are_for_anticipation(root: Path, model) -> None:
    with pytest.raises(StoryjaxError, match="text_only"):
        make_source(root, model, "mq", ablations=("text_only",)).evaluators()


def test_sampling_stays_in_the_reduced_vocabulary(model) -> None:
    allowed = reduced_vocabulary(TOKENIZER, ["kick ball , dance park"], model.llm.config.vocab_size)
    ids = jnp.zeros((1, 2), jnp.int32)
    params = jax.jit(lambda key: model.llm.init(key, ids, ids == 0, ids))(jax.random.key(0))["params"]
    encoded = jax.random.normal(jax.random.key(1), (2, 3, model.llm.config.d_model))
    seen = encoded, jnp.ones((2, 3), bool), 6, jnp.asarray(allowed)

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        """The likeliest candidate of each text and three drawn ones."""
        keys, temperatures = jax.random.split(key, 4), (0.0, 1.0, 1.0, 1.0)
        return sample(model.llm, params, *seen, keys, temperatures, each=4).reshape(2, 4, 6)

    ids, others = (np.asarray(draw(jax.random.key(seed))) for seed in (8, 9))
    assert set(ids.reshape(-1).tolist()) - {0} <= set(np.flatnonzero(allowed).tolist())
    np.testing.assert_array_equal(ids[:, 0], others[:, 0])
    assert len({row.tobytes() for row in ids[0]}) > 1
    # Candidates that share a text are drawn as one by one, each with its own key.
    alone = jax.jit(lambda key: sample(model.llm, params, *seen, key[None], (1.0,)))
    np.testing.assert_array_equal(alone(jax.random.split(jax.random.key(8), 4)[2]), ids[:, 2])


def test_answers_in_turn_join_the_prompt() -> None:
    """A language model that repeats the last word of its prompt and stops: pieces follow one another."""
    counting = tiny_t5()
    words = jnp.array([[5, 6, 7, 0], [8, 0, 0, 0]], jnp.int32)

    def encode(prompt, mask):
        last = jnp.take_along_axis(prompt, jnp.sum(mask, axis=1)[:, None] - 1, axis=1)
        return jax.nn.one_hot(last, 16), jnp.ones((2, 1), bool)

    allowed, stops = jnp.arange(16) > 1, jnp.arange(16) == 9
    asked = (words, words > 0, 3, 2, allowed, stops, jax.random.split(jax.random.key(0), 1), (0.0,))
    said = sample_in_turn(encode, counting, {}, *asked)
    # Each piece is one word more than the last: two tokens a turn, unless the stop comes first.
    assert said.tolist() == [[8, 9, 10, 11, 12, 13], [9, 10, 11, 12, 13, 0]]


class Counting(T5):
    """Stands for T5: the next token is the number after the last of prompt and answer."""

    def apply(self, variables, *inputs, method):
        if method is T5.keys_values:
            return inputs[0]
        tokens, cache, position, encoded, _ = inputs
        before = jnp.where(position == 0, jnp.argmax(encoded[:, 0], axis=-1), tokens)
        return jax.nn.one_hot(before + 1, 16), cache


def tiny_t5() -> Counting:
    return Counting(
        T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=8, num_heads=1, num_layers=1, num_decoder_layers=1)
    )


def test_said_actions_are_parsed_and_others_dropped() -> None:
    verbs, nouns = ["turn on", "take", "turn"], ["cup", "on lamp", "lamp"]
    assert parse_actions("take cup , turn on lamp , fly cup , take", verbs, nouns) == [
        ("take", "cup"),
        ("turn on", "lamp"),
    ]
    assert parse_actions("(take, cup), (turn on , lamp), (fly, cup)", verbs, nouns) == [
        ("take", "cup"),
        ("turn on", "lamp"),
    ]
    assert spell(TOKENIZER, np.array([*TOKENIZER.encode("kick ball"), 1, 9, 0])) == "kick ball"


def test_worked_examples_stand_before_the_prompt_or_are_refused(root: Path, model) -> None:
    source = make_source(root, model, "nlq", shots=2, prompt_length=200)
    item = source.groups("val", None)[0]
    batch = source.loader(False, Ablation())(item, np.random.default_rng(0))
    said = TOKENIZER.decode(batch["prompt"][0][batch["prompt_mask"][0]])
    assert said.count("from 1 to 20") == 3
    split, films = source.shown()
    for record in (source.records(split)[film] for film in films):
        spans = zip(record["query"], record["start"], record["end"], strict=True)
        worked = {moments_prompt(query, 20): (float(start), float(end)) for query, start, end in spans}
        (prompt,) = (prompt for prompt in worked if prompt in source.worked_examples())
        told = source.worked_examples().split(prompt)[1].split()
        assert int(told[0]) == timestamps([worked[prompt]], 45.0, 20)[0]  # of the film, however early queries end
    short = make_source(root, model, "nlq", shots=2)
    with pytest.raises(StoryjaxError, match="give fewer shots"):
        short.loader(False, Ablation())(item, np.random.default_rng(0))


def test_a_data_set_without_training_gives_examples_that_are_not_asked(root: Path, model) -> None:
    source = make_source(root, model, "egoschema", shots=1, prompt_length=200, train_split=None)
    every = len(make_source(root, model, "egoschema", train_split=None).groups("subset", None))
    groups = source.groups("subset", None)
    assert len(groups) == every - 1
    split, (shown,) = source.shown()
    assert split == "subset"
    assert shown not in {film for film, _ in map(groups.group, range(len(groups)))}
    said = source.records("subset")[shown]
    assert said["question"][0].strip(" ?") in source.worked_examples()


def test_a_run_is_also_evaluated_in_two_passes_and_with_worked_examples(root: Path, model) -> None:
    """Table 3.3's 92 × 2 and Table 3.8's 2-shot rows are trained no second time."""
    names = ("twice", "two_shots")
    source = make_source(root, model, "egoschema", prompt_length=100, train_split=None, ablations=names)
    assert [one.name for one in source.evaluators()] == ["egoschema", "egoschema_twice", "egoschema_two_shots"]
    every = source.groups("subset", None)
    rng = np.random.default_rng(0)
    assert source.loader(False, ABLATIONS["twice"])(every[0], rng)["frames"].shape[0] == 2 * source.data.frames
    asked_of = source.groups("subset", None, 2)
    assert len(asked_of) == len(every) - 2
    batch = source.loader(False, ABLATIONS["two_shots"])(asked_of[0], rng)
    assert TOKENIZER.decode(batch["prompt"][0][batch["prompt_mask"][0]]).count("considering information") == 3
    with pytest.raises(StoryjaxError, match="2 passes over 8 frames"):
        make_source(root, model, "nlq", ablations=("twice",)).evaluators()


def config_of(name: str, variant: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


TABLE_3_7 = {
    "tcr_ytt_pretrain": (256, 1e-4, 10, 1000),
    "tcr_msrvtt": (128, 1e-5, 20, 2000),
    "tcr_egoschema": (64, 1e-5, 20, 1000),
    "tcr_ego4d_lta": (64, 1e-5, 20, 1000),
    "tcr_ego4d_mq": (128, 1e-5, 10, 500),
}


@pytest.mark.parametrize("name", TABLE_3_7)
def test_paper_variants_are_table_3_7(name: str) -> None:
    config = config_of(name, "paper")
    found = (config.train.batch_size, config.optim.learning_rate, config.train.epochs, config.optim.warmup_steps)
    assert found == TABLE_3_7[name]
    if name == "tcr_ytt_pretrain":
        tasks = from_config(TasksData, config.data, "data").tasks
        assert {key: task.weight for key, task in tasks.items()} == {
            "captioning": 1.0,
            "grounding": 0.5,
            "denoising": 0.5,
        }


@pytest.mark.parametrize("name", [*TABLE_3_7, "tcr_ego4d_nlq", "tcr_multitask"])
def test_embedded_variants_fit_the_resampler_that_ships_and_its_words(name: str, root: Path) -> None:
    config = config_of(name, "embedded")
    assert config.model.tcr == ConfigDict(embedded_model()["tcr"])
    words = WordTokenizer.load(Path(experiment.__file__).parents[1] / "weights/shipped/storyworld_t5/tokenizer.json")
    for key, data in from_config(TasksData, config.data, "data").tasks.items():
        assert data.condition_length <= config.model.tcr.max_prompt
        if data.task == "nextqa":  # tests/e2e fine-tunes for it
            continue
        places = {"root": str(root / WORLDS[TASKS[data.task].dataset]), "cache_dir": str(root / "prepared")}
        source = source_of(key, replace(data, **places, synthetic=None), make_model(config.model), words)
        split = source.eval_splits[0] if data.train_split is None else "train"
        record = source.records(split)[0]
        for row in range(min(4, source.counts(split)[0])):
            one = source.make(record, row, 45.0, np.random.default_rng(row))
            target = words.encode(one.target)
            assert words.unk_id not in target
            assert len(target) < data.target_length


def test_an_unknown_task_is_named(root: Path) -> None:
    config = config_of("tcr_msrvtt", "embedded")
    config.data.tasks.msrvtt.task = "msrvt"
    config.seed = 0
    with pytest.raises(StoryjaxError, match=r"unknown 'msrvt'. Did you mean 'msrvtt'"):
        experiment.build(config)


def _without_labels(source: Path, target: Path) -> None:
    """The annotations of a challenge's test set, made of those of validation."""
    content = json.loads(source.read_text())
    for row in content.get("clips", ()):
        del row["verb"], row["noun"]
    for clip in (clip for video in content.get("videos", ()) for clip in video["clips"]):
        if "moments" in source.name:
            del clip["annotations"]
        else:
            for part in clip["annotations"]:
                part["annotation_uid"] = "note"
                part["language_queries"] = [{"query": each["query"]} for each in part["language_queries"]]
    target.write_text(json.dumps(content))


def _predicted(prediction: BatchPrediction, output: Callable[[dict], np.ndarray]) -> dict[str, str]:
    """The files that are made of what a model is said to have put out."""
    rows = [row for batch in prediction.data(BATCH) for row in prediction.rows(output(batch), batch)]
    return dict(prediction.files(json.loads(json.dumps(rows))))


@pytest.mark.parametrize("split", ["val", "test_unannotated"])
def test_ego4ds_challenges_get_the_files_that_they_ask_for(root: Path, model, split: str) -> None:
    notes = root / "ego4d" / "annotations"
    for name in ("fho_lta", "moments", "nlq"):
        _without_labels(notes / f"{name}_val.json", notes / f"{name}_test_unannotated.json")
    clips = {row["clip_uid"] for row in json.loads((notes / "fho_lta_val.json").read_text())["clips"]}
    space = json.loads((notes / "fho_lta_taxonomy.json").read_text())
    options = replace(OPTIONS, observed=3, future=2)
    source = make_source(root, model, "lta", options=options)
    nothing = lambda batch: np.zeros((2, 1, 2, 62), np.int32)  # noqa: E731
    (text,) = _predicted(source.prediction("lta", split), nothing).values()
    found = json.loads(text)
    assert {key.rpartition("_")[0] for key in found} == clips
    assert min(int(key.rpartition("_")[2]) for key in found) == 2  # the last of the first three
    for each in found.values():
        for kind in ("verb", "noun"):
            assert np.shape(each[kind]) == (2, 2)
            assert 0 <= np.min(each[kind]) <= np.max(each[kind]) < len(space[f"{kind}s"])
    likely = np.full((2, 1, 20), 0.01, np.float32)
    likely[..., 4:8] = 0.2
    (text,) = _predicted(make_source(root, model, "nlq").prediction("nlq", split), lambda batch: likely).values()
    found = json.loads(text)
    asked = [
        part for video in json.loads((notes / f"nlq_{split}.json").read_text())["videos"] for part in video["clips"]
    ]
    assert len(found["results"]) == sum(len(part["annotations"][0]["language_queries"]) for part in asked)
    assert (found["version"], found["challenge"]) == ("1.0", "ego4d_nlq_challenge")
    assert set(found["results"][0]) == {"clip_uid", "annotation_uid", "query_idx", "predicted_times"}
    assert [each["query_idx"] for each in found["results"][:2]] == [0, 1]
    assert found["results"][0]["annotation_uid"] == ("note" if split != "val" else "")
    assert all(start < end for start, end in found["results"][0]["predicted_times"])
    (text,) = _predicted(make_source(root, model, "mq").prediction("mq", split), lambda batch: likely).values()
    found = json.loads(text)
    assert found["challenge"] == "ego4d_moment_queries"
    assert set(found["detect_results"]) == set(found["retrieve_results"]) == clips
    labels = {one["label"] for one in found["detect_results"][min(clips)]}
    assert len(labels) > 3
    assert all("_" in label or label.isalpha() for label in labels)  # as the challenge spells them
    scores = [one["score"] for one in found["detect_results"][min(clips)]]
    assert scores == sorted(scores, reverse=True)


def test_egoschemas_full_set_becomes_a_submission(root: Path, model) -> None:
    source = make_source(root, model, "egoschema")
    files = _predicted(source.prediction("egoschema", "full"), lambda batch: np.full((2, 1), 3))
    questions = [row["q_uid"] for row in json.loads((root / "egoschema" / "questions.json").read_text())]
    assert json.loads(files["egoschema.json"]) == dict.fromkeys(questions, 3)
    assert files["egoschema.csv"].splitlines() == ["q_uid,answer", *(f"{uid},3" for uid in questions)]
    assert source.prediction("egoschema", "full").step is not None
    assert make_source(root, model, "msrvtt").predictions() == []
    assert [each.name for each in source.predictions()] == ["egoschema"]
