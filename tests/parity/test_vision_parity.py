"""Vision encoders against transformers' Blip2VisionModel and CLIPVisionModel."""

import dataclasses

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from storyjax.models.vit import ViT, ViTConfig
from storyjax.nn.transformer import EncoderBlock
from storyjax.weights.rules import BLIP2_VISION, CLIP_VISION, RuleTable, import_weights

BLOCK, MODEL = 1e-5, 1e-4

SMALL = ViTConfig(image_size=28, patch_size=7, width=36, depth=3, heads=3, mlp_width=50)


def blip2(config: ViTConfig) -> transformers.Blip2VisionModel:
    return transformers.Blip2VisionModel(
        transformers.Blip2VisionConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_act=config.activation,
            layer_norm_eps=config.eps,
            qkv_bias=config.qkv_bias,
        )
    )


def clip(config: ViTConfig) -> transformers.CLIPVisionModel:
    return transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_act=config.activation,
            layer_norm_eps=config.eps,
        )
    )


def load(table: RuleTable, config: ViTConfig, model: torch.nn.Module, arrays) -> dict:
    image = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    abstract = jax.eval_shape(ViT(config).init, jax.random.key(0), image)["params"]
    return import_weights(table, arrays(model), abstract, "the reference")


def images(size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(einops.rearrange(x, "b y x c -> b c y x"))


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_blip2_tokens(qkv_bias, randomised, agree, arrays):
    config = dataclasses.replace(SMALL, qkv_bias=qkv_bias)
    model = randomised(blip2(config))
    params = load(BLIP2_VISION, config, model, arrays)
    x = images(config.image_size)
    with torch.no_grad():
        theirs = model(channels_first(x)).last_hidden_state
    agree(jax.jit(ViT(config).apply)({"params": params}, x), theirs, MODEL)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_tokens(activation, randomised, agree, arrays):
    config = dataclasses.replace(SMALL, activation=activation, patch_bias=False, pre_norm_embed=True, eps=1e-5)
    model = randomised(clip(config))
    params = load(CLIP_VISION, config, model, arrays)
    x = images(config.image_size)
    with torch.no_grad():
        out = model(channels_first(x))
        # CLIP normalises only the class token; ours normalises all tokens in the same way.
        theirs = model.post_layernorm(out.last_hidden_state)
    ours = jax.jit(ViT(config).apply)({"params": params}, x)
    agree(ours, theirs, MODEL)
    agree(ours[:, 0], out.pooler_output, MODEL)


@pytest.mark.parametrize("table", [BLIP2_VISION, CLIP_VISION], ids=["blip2", "clip"])
def test_block(table, randomised, agree, arrays):
    is_clip = table is CLIP_VISION
    config = dataclasses.replace(SMALL, patch_bias=not is_clip, pre_norm_embed=is_clip)
    model = randomised((clip if is_clip else blip2)(config))
    params = load(table, config, model, arrays)["encoder"]["block_1"]
    x = np.random.default_rng(1).normal(size=(2, 17, config.width)).astype(np.float32)
    block = EncoderBlock(config.heads, config.mlp_width, config.activation, eps=config.eps)
    mask = {"attention_mask": None} if is_clip else {}
    theirs = model.encoder.layers[1](torch.tensor(x), **mask)
    agree(jax.jit(block.apply)({"params": params}, x), theirs, BLOCK)
