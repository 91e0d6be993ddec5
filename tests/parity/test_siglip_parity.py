"""SigLIP against transformers' SiglipModel."""

import einops
import jax
import numpy as np
import references
import torch
import transformers

from storyjax.core.params_io import unflatten
from storyjax.models.siglip import AttentionPool, Siglip, SiglipConfig, SiglipTextConfig
from storyjax.models.vit import ViTConfig
from storyjax.weights.registry import SIGLIP_FAMILY
from storyjax.weights.rules import import_weights
from storyjax.weights.tables.vision_language import SIGLIP

BLOCK, MODEL = 1e-5, 1e-4

# Three patches of seven pixels in 23: two pixels at the right and below are beyond the last patch, as in SO400M/14.
SMALL = SiglipConfig(
    ViTConfig(
        image_size=23,
        patch_size=7,
        width=36,
        depth=2,
        heads=3,
        mlp_width=50,
        activation="gelu_tanh",
        cls_token=False,
    ),
    SiglipTextConfig(vocab_size=60, max_length=9, width=36, depth=3, heads=4, mlp_width=44),
)


def reference(config: SiglipConfig) -> transformers.SiglipModel:
    return transformers.SiglipModel(references.siglip(config))


def load(config: SiglipConfig, model: torch.nn.Module, arrays) -> dict:
    return import_weights(SIGLIP, arrays(model), unflatten(SIGLIP_FAMILY.shapes(config)), "the reference")


def test_logits_tokens_and_embeddings(randomised, agree, arrays):
    model = randomised(reference(SMALL))
    params = load(SMALL, model, arrays)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 23, 23, 3)).astype(np.float32)
    ids = rng.integers(2, 60, (4, 9))
    ids[1, 4:] = 1  # padding, which this model reads like any token
    with torch.no_grad():
        out = model(
            pixel_values=torch.tensor(einops.rearrange(images, "b y x c -> b c y x")), input_ids=torch.tensor(ids)
        )

    @jax.jit
    def run(params: dict, images: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        ours, variables = Siglip(SMALL), {"params": params}
        tokens = ours.apply(variables, images, method=Siglip.image_tokens)
        image = ours.apply(variables, images, method=Siglip.embed_images)
        text = ours.apply(variables, ids, method=Siglip.embed_texts)
        return ours.apply(variables, images, ids), tokens, image, text

    logits, tokens, image, text = run(params, images, ids)
    agree(logits, out.logits_per_image, MODEL)
    agree(tokens, out.vision_model_output.last_hidden_state, MODEL)
    agree(image, out.image_embeds, MODEL)
    agree(text, out.text_embeds, MODEL)


def test_attention_pooling_head(randomised, agree, arrays):
    model = randomised(reference(SMALL))
    params = load(SMALL, model, arrays)["vision_head"]
    x = np.random.default_rng(1).normal(size=(2, 9, 36)).astype(np.float32)
    pool = AttentionPool(SMALL.vision.heads, SMALL.vision.mlp_width)
    with torch.no_grad():
        theirs = model.vision_model.head(torch.tensor(x))
    agree(jax.jit(pool.apply)({"params": params}, x), theirs, BLOCK)
