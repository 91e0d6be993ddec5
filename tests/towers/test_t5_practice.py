"""The small T5's further exercises: their arrays, and what is measured of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.configuration import from_config, load_config
from storyjax.data.text import WordTokenizer
from storyjax.nn.t5 import T5Config
from storyjax.storyworld.practice import KINDS
from storyjax.storyworld.vocabulary import vocabulary
from storyjax.towers.t5 import Reader, ReadingData
from storyjax.towers.t5_practice import PracticeData, PracticeLoader, finish, measure

TOKENIZER = WordTokenizer.from_words(vocabulary())
SMALL = T5Config(
    vocab_size=TOKENIZER.vocab_size, d_model=16, d_kv=8, d_ff=16, num_heads=2, num_layers=1, num_decoder_layers=1
)


def load(train: bool = False, seed: int = 0, **more: object) -> dict[str, np.ndarray]:
    data = PracticeData(shares={"moments": 0.5, "actions": 0.5}, per_story=6, target_length=62, **more)
    return PracticeLoader(data, TOKENIZER, train)(seed, np.random.default_rng(seed))


def test_exercises_become_the_readers_arrays() -> None:
    rows = load()
    assert rows["story"].shape == (6, 8)
    assert rows["target"].shape == (6, 62)
    row = int(np.flatnonzero(rows["kind"] == KINDS.index("moments"))[0])
    stamps = TOKENIZER.decode(rows["story"][row]).split()
    assert sorted(TOKENIZER.decode(rows["target"][row]).split()) == sorted(stamps)
    assert (rows["answer"] == -1).all()
    assert (load()["target"] == rows["target"]).all()  # validation is the same every time


def test_blind_exercises_have_no_note() -> None:
    seen = np.concatenate([load(True, seed, blind=0.5)["story_mask"].any(axis=1) for seed in range(10)])
    assert 0.3 < seen.mean() < 0.7
    assert load(False, blind=1.0)["story_mask"].any(axis=1).all()


def test_every_set_of_the_config_fits_its_lengths() -> None:
    config = load_config("configs/storyworld_t5.py:practised")
    for name, section in config.data.practice.items():
        data = from_config(PracticeData, section, name)
        for seed in range(5):
            rows = PracticeLoader(data, TOKENIZER, True)(seed, np.random.default_rng(seed))
            assert (rows["target"] == TOKENIZER.eos_id).any(axis=1).all()
            cut = rows["prompt_mask"].all(axis=1) & (rows["prompt"][:, -1] != TOKENIZER.encode(".")[0])
            assert not cut.any(), f"{name}: prompts longer than {data.prompt_length}"


def test_what_is_right_is_counted_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {name: jnp.asarray(value)[None] for name, value in load().items()} | {"record_valid": jnp.ones(1, bool)}
    reader = Reader(SMALL, ReadingData(), TOKENIZER)
    sure = 50.0 * jax.nn.one_hot(batch["target"][0], TOKENIZER.vocab_size)
    monkeypatch.setattr(Reader, "encode", lambda self, params, batch, key: (None, None))
    monkeypatch.setattr(Reader, "decode", lambda self, params, target, encoded, mask: sure)
    right = finish(measure(reader, {}, batch), "times")
    assert right == pytest.approx({"times/moments": 1.0, "times/actions": 1.0})
    monkeypatch.setattr(Reader, "decode", lambda self, params, target, encoded, mask: 0 * sure)
    even = finish(measure(reader, {}, batch), "times")
    assert even["times/moments"] == pytest.approx(9 / TOKENIZER.vocab_size, rel=0.05)  # eight stamps and the end
    nothing = measure(reader, {}, batch | {"record_valid": jnp.zeros(1, bool)})
    assert not nothing["asked"].any()
