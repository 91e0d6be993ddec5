"""The small T5's auxiliary tasks: their arrays and their metrics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.config import from_config, load_config
from storyjax.core.params_io import flatten
from storyjax.data.text import WordTokenizer
from storyjax.embedded.sequence_tasks import KINDS, by_kind
from storyjax.embedded.t5_reader import Reader, ReadingData
from storyjax.embedded.t5_sequences import (
    SequenceData,
    SequenceLoader,
    copy_positions,
    eval_step,
    sequence_task,
    with_induction_head,
)
from storyjax.models.t5 import T5Config
from storyjax.storyworld.story.vocabulary import vocabulary

TOKENIZER = WordTokenizer.from_words(vocabulary())
SMALL = T5Config(
    vocab_size=TOKENIZER.vocab_size, d_model=16, d_kv=8, d_ff=16, num_heads=2, num_layers=1, num_decoder_layers=1
)


def load(train: bool = False, seed: int = 0, **more: object) -> dict[str, np.ndarray]:
    data = SequenceData(mix={"moments": 0.5, "actions": 0.5}, per_story=6, target_length=62, **more)
    return SequenceLoader(data, TOKENIZER, train)(seed, np.random.default_rng(seed))


def accuracies(sums: dict) -> dict[str, float]:
    return by_kind(np.asarray(sums["right"]), np.asarray(sums["asked"]), "times/")


def test_examples_become_the_readers_arrays() -> None:
    rows = load()
    assert rows["story"].shape == (6, 8)
    assert rows["target"].shape == (6, 62)
    row = int(np.flatnonzero(rows["kind"] == KINDS.index("moments"))[0])
    stamps = TOKENIZER.decode(rows["story"][row]).split()
    assert sorted(TOKENIZER.decode(rows["target"][row]).split()) == sorted(stamps)
    assert (rows["answer"] == -1).all()
    assert (load()["target"] == rows["target"]).all()  # validation is the same every time


def test_some_examples_have_no_note() -> None:
    seen = np.concatenate([load(True, seed, no_note_prob=0.5)["story_mask"].any(axis=1) for seed in range(10)])
    assert 0.3 < seen.mean() < 0.7
    assert load(False, no_note_prob=1.0)["story_mask"].any(axis=1).all()


def test_the_padding_of_a_note_is_read_as_a_resamplers_quiet_queries_are() -> None:
    data = SequenceData(mix={"queries": 1.0})
    rows = SequenceLoader(data, TOKENIZER, False)(0, np.random.default_rng(0))
    assert (rows["story"] == TOKENIZER.pad_id).any()
    assert rows["story_mask"].all()


def test_every_set_of_the_config_fits_its_lengths() -> None:
    config = load_config("configs/storyworld_t5.py:practised")
    for name, section in config.data.auxiliary_tasks.items():
        data = from_config(SequenceData, section, name)
        for seed in range(5):
            rows = SequenceLoader(data, TOKENIZER, True)(seed, np.random.default_rng(seed))
            assert (rows["target"] == TOKENIZER.eos_id).any(axis=1).all()
            cut = rows["prompt_mask"].all(axis=1) & (rows["prompt"][:, -1] != TOKENIZER.encode(".")[0])
            assert not cut.any(), f"{name}: prompts longer than {data.prompt_length}"


def test_the_decoder_starts_with_comparing_what_stands_before() -> None:
    """Its key at a place and its query at a word are alike where the same words stand before."""
    reader = Reader(dataclasses.replace(SMALL, num_decoder_layers=2), ReadingData(), TOKENIZER)
    params = reader.init(jax.random.key(0))
    config = reader.llm.config
    drawn = {path: np.asarray(array) for path, array in flatten(params).items()}
    made = with_induction_head(drawn, config)
    assert made.keys() == drawn.keys()
    changed = {path for path in drawn if not np.array_equal(drawn[path], made[path])}
    assert all(path.startswith("llm/decoder/") for path in changed if "cross_attention/key" not in path)
    own = "llm/decoder/block_0/attention"
    np.testing.assert_array_equal(made[f"{own}/out/kernel"][8:], drawn[f"{own}/out/kernel"][8:])  # the other head's
    out = made[f"{own}/out/kernel"][:8]
    np.testing.assert_array_equal(out, drawn["llm/encoder/block_0/attention/out/kernel"][:8])
    found = made["llm/decoder/block_1/cross_attention/query/kernel"][:, :8]
    same = out @ found  # the output of the first head, mapped back by the comparing head
    np.testing.assert_allclose(same, np.eye(8) * same[0, 0], atol=1e-5)
    assert same[0, 0] > 0


def test_the_loss_shows_where_the_next_word_stands() -> None:
    target = jnp.array([[5, 7, 9, 6, 1, 0]])
    batch = {
        "target": target,
        "story": jnp.array([[5, 6]]),
        "story_mask": jnp.array([[True, False]]),
        "prompt": jnp.array([[7, 5, 9]]),
        "prompt_mask": jnp.ones((1, 3), bool),
    }
    right = copy_positions(batch, ignored=[0, 1, 9])
    expected = np.zeros((1, 6, 5), bool)
    expected[0, 0, [0, 3]] = True
    expected[0, 1, 2] = True
    np.testing.assert_array_equal(right, expected)


def test_copying_draws_the_last_attention_of_the_decoder() -> None:
    reader = Reader(dataclasses.replace(SMALL, num_decoder_layers=2), ReadingData(), TOKENIZER)
    params = reader.init(jax.random.key(0))
    data = SequenceData(mix={"actions": 1.0}, per_story=1, target_length=62, copy_weight=1.0)
    batch = {
        name: value[None] for name, value in SequenceLoader(data, TOKENIZER, True)(3, np.random.default_rng(0)).items()
    }
    task, _ = sequence_task("ahead", data, reader, TOKENIZER)
    plain, _ = sequence_task("ahead", dataclasses.replace(data, copy_weight=0.0), reader, TOKENIZER)
    key = jax.random.key(1)
    total, parts = task.loss(params, batch, key)
    expected = float(plain.loss(params, batch, key)[0] + parts["copying"])
    assert float(total) == pytest.approx(expected, rel=1e-5)
    slope = jax.grad(lambda params: task.loss(params, batch, key)[1]["copying"])(params)["llm"]["decoder"]
    heads = slope["block_1"]["cross_attention"]["query"]["kernel"]
    assert jnp.abs(heads[:, :8]).max() > 0
    assert jnp.abs(heads[:, 8:]).max() == 0  # one head alone is drawn
    assert jnp.abs(slope["block_1"]["mlp"]["up"]["kernel"]).max() == 0


def test_what_is_right_is_counted_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {name: jnp.asarray(value)[None] for name, value in load().items()} | {"record_valid": jnp.ones(1, bool)}
    reader = Reader(SMALL, ReadingData(), TOKENIZER)
    sure = 50.0 * jax.nn.one_hot(batch["target"][0], TOKENIZER.vocab_size)
    monkeypatch.setattr(Reader, "encode", lambda self, params, batch, key: (None, None))
    monkeypatch.setattr(Reader, "decode", lambda self, params, target, encoded, mask: sure)
    right = accuracies(eval_step(reader, {}, batch))
    assert right == pytest.approx({"times/moments": 1.0, "times/actions": 1.0})
    monkeypatch.setattr(Reader, "decode", lambda self, params, target, encoded, mask: 0 * sure)
    even = accuracies(eval_step(reader, {}, batch))
    assert even["times/moments"] == pytest.approx(9 / TOKENIZER.vocab_size, rel=0.05)  # eight stamps and the end
    nothing = eval_step(reader, {}, batch | {"record_valid": jnp.zeros(1, bool)})
    assert not nothing["asked"].any()
