"""Both encoders of CLIP against transformers' CLIPModel."""

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from storyjax.models.clip import Clip, ClipConfig, ClipText, ClipTextConfig
from storyjax.models.vit import ViTConfig
from storyjax.nn.transformer import EncoderBlock
from storyjax.weights.rules import CLIP, CLIP_TEXT, import_weights

BLOCK, MODEL = 1e-5, 1e-4

VISION = ViTConfig(
    image_size=28,
    patch_size=7,
    width=36,
    depth=2,
    heads=3,
    mlp_width=50,
    activation="quick_gelu",
    patch_bias=False,
    pre_norm_embed=True,
    eps=1e-5,
)
TEXT = ClipTextConfig(vocab_size=60, max_length=12, width=32, depth=3, heads=4, mlp_width=44, eos_id=59)
SMALL = ClipConfig(VISION, TEXT, projection_dim=20)


def reference(config: ClipConfig, eos_token_id: int) -> transformers.CLIPModel:
    vision, text = config.vision, config.text
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config={
                "hidden_size": vision.width,
                "intermediate_size": vision.mlp_width,
                "num_hidden_layers": vision.depth,
                "num_attention_heads": vision.heads,
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "hidden_act": vision.activation,
                "projection_dim": config.projection_dim,
            },
            text_config={
                "vocab_size": text.vocab_size,
                "max_position_embeddings": text.max_length,
                "hidden_size": text.width,
                "intermediate_size": text.mlp_width,
                "num_hidden_layers": text.depth,
                "num_attention_heads": text.heads,
                "hidden_act": text.activation,
                "eos_token_id": eos_token_id,
                "projection_dim": config.projection_dim,
            },
            projection_dim=config.projection_dim,
        )
    )


def load(config: ClipConfig, model: torch.nn.Module, arrays) -> dict:
    image = jax.ShapeDtypeStruct((1, config.vision.image_size, config.vision.image_size, 3), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, config.text.max_length), jnp.int32)
    abstract = jax.eval_shape(Clip(config).init, jax.random.key(0), image, ids)["params"]
    return import_weights(CLIP, arrays(model), abstract, "the reference")


def texts() -> np.ndarray:
    """Texts of 3 to 10 tokens; the padding repeats the end token in one, as CLIP's own tokenizer pads."""
    ids = np.random.default_rng(0).integers(1, 59, (4, 10))
    for row, (length, padding) in enumerate([(10, 0), (3, 0), (7, 59), (5, 1)]):
        ids[row, length - 1] = 59
        ids[row, length:] = padding
    return ids


# Published configs give 2 as the end token, which makes the reference look for the greatest id instead.
@pytest.mark.parametrize("eos_token_id", [59, 2])
def test_similarities_and_embeddings(eos_token_id, randomised, agree, arrays):
    model = randomised(reference(SMALL, eos_token_id))
    params = load(SMALL, model, arrays)
    images = np.random.default_rng(0).normal(size=(3, 28, 28, 3)).astype(np.float32)
    ids = texts()
    with torch.no_grad():
        out = model(
            pixel_values=torch.tensor(einops.rearrange(images, "b y x c -> b c y x")), input_ids=torch.tensor(ids)
        )

    @jax.jit
    def run(params: dict, images: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        ours, variables = Clip(SMALL), {"params": params}
        similarity = ours.apply(variables, images, ids)
        image = ours.apply(variables, images, method=Clip.embed_images)
        text = ours.apply(variables, ids, method=Clip.embed_texts)
        return similarity, image, text, ClipText(TEXT).apply({"params": params["text"]}, ids)[1]

    similarity, image, text, states = run(params, images, ids)
    agree(similarity, out.logits_per_image, MODEL)
    agree(image, out.image_embeds, MODEL)
    agree(text, out.text_embeds, MODEL)
    agree(states, out.text_model_output.last_hidden_state, MODEL)


def test_text_block(randomised, agree, arrays):
    model = randomised(reference(SMALL, 59))
    params = load(SMALL, model, arrays)["text"]["encoder"]["block_2"]
    x = np.random.default_rng(1).normal(size=(2, 9, TEXT.width)).astype(np.float32)
    causal = np.tri(9, dtype=bool)[None, None]
    block = EncoderBlock(TEXT.heads, TEXT.mlp_width, TEXT.activation, eps=TEXT.eps)
    additive = torch.where(torch.tensor(causal), 0.0, torch.finfo(torch.float32).min)
    theirs = model.text_model.encoder.layers[2](torch.tensor(x), additive)
    agree(jax.jit(block.apply)({"params": params}, x, causal), theirs, BLOCK)


def test_text_tower_alone(arrays):
    model = transformers.CLIPTextModel(reference(SMALL, 59).config.text_config)
    ids = jax.ShapeDtypeStruct((1, 10), jnp.int32)
    abstract = jax.eval_shape(ClipText(TEXT).init, jax.random.key(0), ids)["params"]
    import_weights(CLIP_TEXT, arrays(model), abstract, "the reference")
