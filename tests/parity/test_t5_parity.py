"""T5 against transformers' T5ForConditionalGeneration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from storyjax.models import t5
from storyjax.models.t5_decoding import Decoding, generate
from storyjax.weights.rules import import_weights, t5_rules

BLOCK, MODEL = 1e-5, 1e-4

# Inner width unlike the model's, depths that differ, and so few buckets that texts of 24 tokens fill the last one.
GATED = t5.T5Config(
    vocab_size=90,
    d_model=40,
    d_kv=12,
    d_ff=56,
    num_heads=3,
    num_layers=2,
    num_decoder_layers=3,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=20,
)
TIED = dataclasses.replace(GATED, feed_forward="relu", tie_word_embeddings=True)


def reference_config(config: t5.T5Config, **options) -> transformers.T5Config:
    return transformers.T5Config(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        relative_attention_num_buckets=config.relative_attention_num_buckets,
        relative_attention_max_distance=config.relative_attention_max_distance,
        layer_norm_epsilon=config.eps,
        feed_forward_proj=config.feed_forward,
        tie_word_embeddings=config.tie_word_embeddings,
        decoder_start_token_id=config.decoder_start_id,
        **options,
    )


def reference(config: t5.T5Config, **options) -> transformers.T5ForConditionalGeneration:
    model = transformers.T5ForConditionalGeneration(reference_config(config, **options))
    if not config.tie_word_embeddings:
        # transformers ties the output layer at construction whatever the config says, and unties it when loading.
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    return model


def abstract(config: t5.T5Config) -> dict:
    ids, mask = jax.ShapeDtypeStruct((1, 4), jnp.int32), jax.ShapeDtypeStruct((1, 4), bool)
    return jax.eval_shape(t5.T5(config).init, jax.random.key(0), ids, mask, ids)["params"]


def load(config: t5.T5Config, model: torch.nn.Module, arrays) -> dict:
    return import_weights(t5_rules(config), arrays(model), abstract(config), "the reference")


def texts(vocab_size: int, lengths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random token ids of those lengths, padded at the end, and their mask."""
    ids = np.random.default_rng(0).integers(2, vocab_size, (len(lengths), max(lengths)))
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    return np.where(mask, ids, 0), mask


def apply(module, params: dict, *inputs, **options) -> jax.Array:
    """A module of ours on NumPy arrays."""
    run = jax.jit(lambda params, *inputs: module.apply({"params": params}, *inputs, **options))
    return run(params, *inputs)


def relative_bias(stack: dict, bidirectional: bool) -> jax.Array:
    """The bias of a stack for 24 tokens."""
    return t5.RelativeBias(GATED, bidirectional).apply({"params": stack["relative_bias"]}, 24)


@pytest.mark.parametrize("config", [GATED, TIED], ids=["gated", "tied"])
def test_logits_and_encoder_states(config, randomised, agree, arrays):
    model = randomised(reference(config))
    params = load(config, model, arrays)
    ids, mask = texts(config.vocab_size, (24, 5, 17))
    decoder_ids, _ = texts(config.vocab_size, (12, 12, 12))
    with torch.no_grad():
        out = model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), decoder_input_ids=torch.tensor(decoder_ids)
        )
    ours = t5.T5(config)
    agree(apply(ours, params, ids, mask, decoder_ids), out.logits, MODEL)
    embeds = apply(ours, params, ids, method=t5.T5.embed)
    encoded = apply(ours, params, embeds, mask, method=t5.T5.encode)
    agree(np.asarray(encoded)[mask], out.encoder_last_hidden_state[torch.tensor(mask)], MODEL)


def test_encoder_block(randomised, agree, arrays):
    model = randomised(reference(GATED))
    params = load(GATED, model, arrays)["encoder"]
    x = np.random.default_rng(1).normal(size=(2, 24, GATED.d_model)).astype(np.float32)
    mask = np.arange(24)[None] < np.array([24, 9])[:, None]
    bias = relative_bias(params, bidirectional=True)
    block = t5.T5Block(GATED, cross=False)
    ours = apply(block, params["block_0"], x, mask[:, None, None], bias)
    additive = torch.where(torch.tensor(mask), 0.0, torch.finfo(torch.float32).min)[:, None, None]
    theirs = model.encoder.block[0](torch.tensor(x), additive)[0]
    agree(ours, theirs, BLOCK)


def test_decoder_block(randomised, agree, arrays):
    model = randomised(reference(GATED))
    params = load(GATED, model, arrays)["decoder"]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 24, GATED.d_model)).astype(np.float32)
    encoded = rng.normal(size=(2, 7, GATED.d_model)).astype(np.float32)
    mask = np.arange(7)[None] < np.array([7, 4])[:, None]
    causal = np.tri(24, dtype=bool)[None, None]
    bias = relative_bias(params, bidirectional=False)
    block = t5.T5Block(GATED, cross=True)
    ours = apply(block, params["block_0"], x, causal, bias, encoded, mask[:, None, None])
    lowest = torch.finfo(torch.float32).min
    theirs = model.decoder.block[0](
        torch.tensor(x),
        torch.where(torch.tensor(causal), 0.0, lowest),
        encoder_hidden_states=torch.tensor(encoded),
        encoder_attention_mask=torch.where(torch.tensor(mask), 0.0, lowest)[:, None, None],
    )[0]
    agree(ours, theirs, BLOCK)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20)])
def test_buckets_of_all_distances(bidirectional, buckets, distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    position = np.arange(-600, 601)[None]
    ours = t5.relative_position_buckets(
        position, bidirectional=bidirectional, num_buckets=buckets, max_distance=distance
    )
    theirs = T5Attention._relative_position_bucket(torch.tensor(position), bidirectional, buckets, distance)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_greedy_decoding(randomised, arrays):
    # With the end token 23 the reference ends the last text early and leaves the others to run to the limit.
    config = dataclasses.replace(GATED, eos_id=23)
    model = randomised(reference(config, eos_token_id=23), seed=3)
    params = load(config, model, arrays)
    ids, mask = texts(config.vocab_size, (24, 5, 17, 9))
    theirs = model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        do_sample=False,
        use_cache=False,
        max_new_tokens=10,
    )[:, 1:].numpy()
    assert [list(row).count(23) for row in theirs] == [0, 0, 0, 1]
    ours = t5.T5(config)
    embeds = apply(ours, params, ids, method=t5.T5.embed)
    encoded = apply(ours, params, embeds, mask, method=t5.T5.encode)
    decoded = jax.jit(lambda params, encoded, mask: generate(ours, params, encoded, mask, 10))
    np.testing.assert_array_equal(decoded(params, encoded, jnp.asarray(mask)), theirs)


def test_beam_search(randomised, arrays):
    """Token for token: texts that end early, late or at the limit; the cache follows the beams."""
    beams, eos, length = 4, 19, 7
    config = dataclasses.replace(GATED, vocab_size=40, eos_id=eos, num_layers=1, num_decoder_layers=2)
    model = randomised(reference(config, eos_token_id=eos), seed=3)
    params = load(config, model, arrays)
    ids, mask = texts(config.vocab_size, (24, 5, 17, 9, 12, 7))
    with torch.no_grad():
        encoded = model.encoder(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    ours = t5.T5(config)
    decoded = jax.jit(
        lambda params, encoded, mask, penalty: generate(ours, params, encoded, mask, length, Decoding(beams, penalty))
    )
    answers = []
    for penalty in (-1.0, 0.0, 1.0, 2.5):
        theirs = model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            do_sample=False,
            use_cache=False,
            num_beams=beams,
            length_penalty=penalty,
            max_new_tokens=length,
        )[:, 1:].numpy()
        # (transformers fills up with the end token where padding is token 0.)
        theirs = np.pad(theirs, ((0, 0), (0, length - theirs.shape[1])), constant_values=eos)
        theirs[(np.cumsum(theirs == eos, axis=1) - (theirs == eos)) > 0] = config.pad_id
        found = np.asarray(decoded(params, encoded, jnp.asarray(mask), penalty))
        np.testing.assert_array_equal(found, theirs)
        answers.append(found)
    lengths = {int(count) for found in answers for count in (found != config.pad_id).sum(axis=1)}
    assert length in lengths
    assert min(lengths) < length - 2
    assert (answers[0] != answers[-1]).any()  # the penalty counts
