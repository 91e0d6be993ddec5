"""From records to batches: every question once, prompts as §3.3.2 has them, ablations that take away what they say."""

import functools

import numpy as np
import pytest

from storyjax.data.prompts import option_names, question_prompt
from storyjax.data.text import WordTokenizer
from storyjax.storyworld.render.render import render_story
from storyjax.storyworld.story.story import StoryStyle, make_story
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.tcr.loader import Ablation, ExampleGroups, ExampleLoader, Lengths, answer_ids, swap_before_after
from storyjax.tcr.resampler import TcrConfig
from storyjax.tcr.tasks import TASKS, Options

TOKENIZER = WordTokenizer.from_words(vocabulary())
PLAIN = Ablation()
SIZES = TcrConfig(vocab_size=TOKENIZER.vocab_size, llm_width=8)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    render_story(make_story(1, StoryStyle(events=8, event_seconds=1.0, scenes=2, mishaps=1)), path, size=32, fps=4)
    return {
        "video_id": "1",
        "video": path.read_bytes(),
        "segment": (0.0, -1.0),
        "question": ["what did ben do right after ana danced ?", "who slept ?", "where did ana jump ?"],
        "options": [["danced", "slept", "jumped", "sang", "waved"]] * 3,
        "answer": np.array([2, 0, 4]),
        "type": ["TN", "DO", "DL"],
    }


def loader(train: bool = False, ablation: Ablation = PLAIN, examples: int = 4) -> ExampleLoader:
    lengths = Lengths(6, examples, 12, 64, answer_ids(TOKENIZER, 5).shape[1])
    make = functools.partial(TASKS["nextqa"].make, options=Options())
    return ExampleLoader(make, lengths, SIZES, 32, TOKENIZER, train, ablation)


def test_groups_ask_every_question_once_and_fill_up_in_training() -> None:
    counts = np.array([5, 1, 4])
    records = [{"id": index} for index in range(3)]
    plain = ExampleGroups(records, counts, 2, None)
    asked = [(item.record["id"], row) for item in (plain[i] for i in range(len(plain))) for row in item.rows]
    assert sorted(asked) == [(i, row) for i, count in enumerate(counts) for row in range(count)]
    shuffled = ExampleGroups(records, counts, 2, 0)
    assert {len(item.rows) for item in (shuffled[i] for i in range(len(shuffled)))} == {2}
    covered = {(item.record["id"], row) for item in (shuffled[i] for i in range(len(shuffled))) for row in item.rows}
    assert covered == set(asked)


def test_a_batch_row_is_the_question_as_the_thesis_asks_it(record: dict) -> None:
    item = ExampleGroups([record], np.array([3]), 4, None)[0]
    batch = loader()(item, np.random.default_rng(0))
    assert batch["frames"].shape == (6, 32, 32, 3)
    assert batch["valid"].tolist() == [True, True, True, False]
    said = TOKENIZER.decode(batch["prompt"][0][batch["prompt_mask"][0]])
    assert said == TOKENIZER.decode(TOKENIZER.encode(question_prompt(record["question"][0], record["options"][0])))
    assert said.endswith("considering information in frames , select the correct answer .")
    condition = TOKENIZER.decode(batch["condition"][0][batch["condition_mask"][0]])
    assert condition == record["question"][0]
    assert TOKENIZER.decode(batch["target"][0]) == option_names(5)[2].lower()
    assert np.all(np.diff(batch["seconds"]) > 0)


def test_training_draws_its_frames_and_evaluation_does_not(record: dict) -> None:
    item = ExampleGroups([record], np.array([3]), 2, 0)[0]
    draw = loader(train=True, examples=2)
    first, again, other = (draw(item, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["seconds"], again["seconds"])
    assert np.abs(first["seconds"] - other["seconds"]).max() > 0
    still = [loader()(item, np.random.default_rng(seed))["seconds"] for seed in (0, 1)]
    np.testing.assert_array_equal(*still)


def test_ablations_touch_only_what_they_name(record: dict) -> None:
    item = ExampleGroups([record], np.array([3]), 4, None)[0]
    base, none, corrupt, shuffled, blind = (
        loader(ablation=ablation)(item, np.random.default_rng(0))
        for ablation in (
            Ablation(),
            Ablation(condition="none"),
            Ablation(condition="corrupt"),
            Ablation(order="shuffled"),
            Ablation(video=False),
        )
    )
    changed = {
        name: {key for key in base if not np.array_equal(base[key], batch[key])}
        for name, batch in {"none": none, "corrupt": corrupt, "shuffled": shuffled, "blind": blind}.items()
    }
    assert changed == {
        "none": {"condition", "condition_mask"},
        "corrupt": {"condition"},
        "shuffled": {"seconds"},
        "blind": {"frame_mask"},
    }
    assert not none["condition_mask"].any()
    assert "before" in TOKENIZER.decode(corrupt["condition"][0])
    np.testing.assert_array_equal(np.sort(shuffled["seconds"]), base["seconds"])


def test_before_and_after_are_swapped_as_words() -> None:
    assert swap_before_after("After lunch, before the afternoon") == "Before lunch, after the afternoon"
