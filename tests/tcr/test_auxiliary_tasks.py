"""Aligning the resampler under [TRG] and [LTA]: what a film's exercises become, and what is counted."""

import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.features import FeatureStore
from storyjax.data.text import WordTokenizer
from storyjax.embedded.sequence_tasks import KINDS, OBSERVED, by_kind, draw_examples
from storyjax.embedded.tcr_alignment import AlignData, build
from storyjax.embedded.tcr_sequences import AuxiliaryLoader, AuxiliaryTask, sums
from storyjax.storyworld.render.video_cache import RoutineVideoCache, StoryVideo
from storyjax.storyworld.story.routines import routine
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig

TOKENIZER = WordTokenizer.from_words(vocabulary())
SIZES = TcrConfig(vocab_size=TOKENIZER.vocab_size, llm_width=24, width=32, heads=4, queries=8, max_prompt=12)
SECONDS = np.arange(32, dtype=np.float32) * 45 / 32


class Stored(FeatureStore):
    """Features of a film that are all zero."""

    def __init__(self) -> None:
        pass

    def draw(self, film: int, rng: np.random.Generator | None = None, source: bytes | None = None) -> dict:
        return {"visual_tokens": np.zeros((32, 5, 16), np.float16), "seconds": SECONDS}


def films(cut: float = 0.0, **shares: float) -> AuxiliaryLoader:
    data = AuxiliaryTask(shares=shares, count=4, cut=cut)
    return AuxiliaryLoader(data, AlignData(), SIZES, TOKENIZER, False, Stored())


def test_queries_are_drawn_to_the_note_and_look_where_it_is() -> None:
    story = routine(3)
    loader = films(moments=1.0)
    batch = loader((7, StoryVideo("film.mp4", story)), np.random.default_rng(0))
    asked = draw_examples(story, {"moments": 1.0}, 4, np.random.default_rng(7))
    assert (batch["task"] == TASK_TOKENS.index("TRG")).all()
    for place, one in enumerate(asked):
        assert TOKENIZER.decode(batch["note"][place]) == one.note
        inside = [any(start <= second < end for start, end in one.spans) for second in SECONDS]
        np.testing.assert_array_equal(batch["moment"][place], inside)
        np.testing.assert_array_equal(batch["named"][place], inside)


def test_actions_are_asked_under_their_times() -> None:
    batch = films(actions=1.0)((0, StoryVideo("film.mp4", routine(3))), np.random.default_rng(0))
    assert (batch["task"] == TASK_TOKENS.index("LTA")).all()
    assert batch["note_mask"].all()
    assert not batch["named"].any()
    times = batch["condition"] >= SIZES.vocab_size
    assert (times.sum(axis=1) == OBSERVED).all()
    assert times[:, 0].all()


def test_of_a_film_that_breaks_off_nothing_later_is_seen() -> None:
    lengths = []
    for index in range(8):
        story = routine(index)
        batch = films(cut=1.0, actions=1.0)((index, StoryVideo("film.mp4", story)), np.random.default_rng(0))
        seen = int(batch["frame_mask"].sum())
        assert batch["frame_mask"][:seen].all()
        assert not batch["moment"][:, seen:].any()
        assert (batch["moment"].any(axis=1) == batch["note_mask"].any(axis=1)).all()
        lengths.append(SECONDS[seen - 1])
    assert min(lengths) < 8
    assert max(lengths) < 15.1  # ten events
    whole = films(cut=0.0, actions=1.0)((0, StoryVideo("film.mp4", routine(0))), np.random.default_rng(0))
    assert whole["frame_mask"].all()


@pytest.mark.parametrize("section", [{"routines": 0, "shares": {"actions": 1.0}}, {"shares": {"moments": 1.0}}])
def test_only_routines_break_off_and_only_for_actions(section: dict) -> None:
    config = load_config("configs/tcr_storyworld_init.py:practised")
    config.data.auxiliary_tasks.broken_off.update(section)
    with config.unlocked():
        config.precision = "float32"
    with pytest.raises(StoryjaxError, match=r"config\.data\.auxiliary_tasks\.broken_off\.cut"):
        build(config)


def test_words_are_counted_by_kind() -> None:
    right = jnp.array([[[True, False, False], [True, True, False]]])
    inside = jnp.array([[[True, True, False], [True, True, False]]])
    kind = jnp.array([[KINDS.index("moments"), KINDS.index("actions")]])
    total = {name: np.asarray(value) for name, value in sums(right, inside, kind, jnp.ones(1, bool)).items()}
    found = by_kind(total["words"], total["asked"], "words_")
    assert found == pytest.approx({"words_moments": 0.5, "words_actions": 1.0})
    nothing = sums(right, inside & False, kind, jnp.ones(1, bool))  # a note without words is neither right nor wrong
    assert not nothing["asked"].any()


def test_routines_are_rendered_once(tmp_path) -> None:
    footage = RoutineVideoCache(tmp_path, "val", 1)
    take = footage[0]
    assert take.story == routine(14_000_000)
    before = (tmp_path / take.video).stat().st_mtime_ns
    assert RoutineVideoCache(tmp_path, "val", 1)[0] == take
    assert (tmp_path / take.video).stat().st_mtime_ns == before
