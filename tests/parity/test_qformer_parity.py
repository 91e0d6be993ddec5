"""The Q-Former, and the whole of BLIP-2 around it, against transformers' Blip2ForConditionalGeneration."""

import dataclasses

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import torch
import transformers

from storyjax.core.params_io import unflatten
from storyjax.models.qformer import QFormer, QFormerBlock, QFormerConfig
from storyjax.models.t5 import T5, T5Config
from storyjax.models.vit import ViT, ViTConfig
from storyjax.weights.registry import BLIP2_FAMILY, Blip2Config
from storyjax.weights.rules import import_weights
from storyjax.weights.tables.vision_language import blip2_rules

BLOCK, MODEL = 1e-5, 1e-4

VISION = ViTConfig(image_size=21, patch_size=7, width=36, depth=2, heads=3, mlp_width=50)
LLM = T5Config(
    vocab_size=90, d_model=40, d_kv=12, d_ff=56, num_heads=3, num_layers=2, num_decoder_layers=2, gate_activation="gelu"
)
SMALL = Blip2Config(
    VISION, QFormerConfig(queries=5, width=24, depth=3, heads=2, mlp_width=30, vision_width=36, llm_width=40), LLM
)


def reference(config: Blip2Config) -> transformers.Blip2ForConditionalGeneration:
    model = transformers.Blip2ForConditionalGeneration(references.blip2(config))
    # transformers ties the output layer at construction whatever the config says, and unties it when loading.
    llm = model.language_model
    llm.lm_head.weight = torch.nn.Parameter(torch.empty_like(llm.shared.weight))
    return model


def load(config: Blip2Config, model: torch.nn.Module, arrays) -> dict:
    abstract = unflatten(BLIP2_FAMILY.shapes(config))
    return import_weights(blip2_rules(config.llm), arrays(model), abstract, "the reference")


@pytest.mark.parametrize("cross_every", [1, 2])
def test_query_states_and_projection(cross_every, randomised, agree, arrays):
    config = dataclasses.replace(SMALL, qformer=dataclasses.replace(SMALL.qformer, cross_every=cross_every))
    model = randomised(reference(config))
    params = load(config, model, arrays)["qformer"]
    tokens = np.random.default_rng(0).normal(size=(2, 13, 36)).astype(np.float32)
    mask = np.arange(13)[None] < np.array([13, 6])[:, None]
    with torch.no_grad():
        queries = model.query_tokens.expand(2, -1, -1)
        states = model.qformer(
            query_embeds=queries,
            encoder_hidden_states=torch.tensor(tokens),
            encoder_attention_mask=torch.tensor(mask).long(),
        ).last_hidden_state
        outputs = model.language_projection(states)
    former = QFormer(config.qformer)
    run = jax.jit(lambda *inputs: former.apply({"params": params}, *inputs, method=QFormer.states))
    agree(run(tokens, mask), states, MODEL)
    agree(jax.jit(former.apply)({"params": params}, tokens, mask), outputs, MODEL)


@pytest.mark.parametrize("block", [0, 1])
def test_block(block, randomised, agree, arrays):
    model = randomised(reference(SMALL))
    params = load(SMALL, model, arrays)["qformer"][f"block_{block}"]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 5, 24)).astype(np.float32)
    tokens = rng.normal(size=(2, 9, 36)).astype(np.float32)
    module = QFormerBlock(SMALL.qformer, cross=block == 0)
    assert ("cross_attention" in params) == (block == 0)
    layer = model.qformer.encoder.layer[block]
    theirs = layer(
        torch.tensor(x),
        attention_mask=torch.zeros(2, 1, 1, 5),
        encoder_hidden_states=torch.tensor(tokens),
        encoder_attention_mask=torch.zeros(2, 1, 1, 9),
        query_length=5,
    )
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    agree(jax.jit(module.apply)({"params": params}, x, tokens), theirs, BLOCK)


def test_the_whole_of_blip2(randomised, agree, arrays):
    model = randomised(reference(SMALL))
    params = load(SMALL, model, arrays)
    rng = np.random.default_rng(2)
    images = rng.normal(size=(2, 21, 21, 3)).astype(np.float32)
    words, answer = rng.integers(2, 80, (2, 6)), rng.integers(2, 80, (2, 4))
    image_token = np.full((2, 5), LLM.vocab_size - 1)
    with torch.no_grad():
        theirs = model(
            pixel_values=torch.tensor(einops.rearrange(images, "b y x c -> b c y x")),
            input_ids=torch.tensor(np.concatenate([image_token, words], axis=1)),
            attention_mask=torch.ones(2, 11, dtype=torch.long),
            decoder_input_ids=torch.tensor(answer),
        ).logits

    @jax.jit
    def ours(params: dict, images: jax.Array, words: jax.Array, answer: jax.Array) -> jax.Array:
        llm, variables = T5(LLM), {"params": params["llm"]}
        tokens = ViT(VISION).apply({"params": params["vision"]}, images)
        seen = QFormer(SMALL.qformer).apply({"params": params["qformer"]}, tokens)
        inputs = jnp.concatenate([seen, llm.apply(variables, words, method=T5.embed)], axis=1)
        mask = jnp.ones(inputs.shape[:2], bool)
        encoded = llm.apply(variables, inputs, mask, method=T5.encode)
        return llm.apply(variables, answer, encoded, mask, method=T5.decode)

    agree(ours(params, images, words, answer), theirs, MODEL)
