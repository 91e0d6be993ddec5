"""Rule tables without PyTorch: both directions are inverse, and nothing is lost or left over in silence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import unflatten
from storyjax.models.clip import Clip, ClipConfig, ClipTextConfig
from storyjax.models.qformer import QFormerConfig
from storyjax.models.siglip import Siglip, SiglipConfig, SiglipTextConfig
from storyjax.models.t5 import T5, T5Config
from storyjax.models.vit import ViT, ViTConfig
from storyjax.weights.registry import BLIP2_FAMILY, Blip2Config
from storyjax.weights.rules import BLIP2_VISION, CLIP, export_weights, import_weights, select, t5_rules
from storyjax.weights.tables.vision_language import OPENAI_CLIP, SIGLIP, blip2_rules, lavis_rules

T5_CONFIG = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=12, num_heads=3, num_layers=1, num_decoder_layers=2)
RELU_CONFIG = dataclasses.replace(T5_CONFIG, feed_forward="relu", tie_word_embeddings=True)
VISION = ViTConfig(image_size=8, patch_size=4, width=12, depth=2, heads=2, mlp_width=16)
CLIP_CONFIG = ClipConfig(
    dataclasses.replace(VISION, patch_bias=False, pre_norm_embed=True),
    ClipTextConfig(vocab_size=20, max_length=6, width=8, depth=1, heads=2, mlp_width=12),
    projection_dim=6,
)
SIGLIP_CONFIG = SiglipConfig(
    dataclasses.replace(VISION, cls_token=False),
    SiglipTextConfig(vocab_size=20, max_length=6, width=8, depth=1, heads=2, mlp_width=12),
)
BLIP2_CONFIG = Blip2Config(
    VISION, QFormerConfig(queries=3, width=8, depth=3, heads=2, mlp_width=10, vision_width=12, llm_width=8), T5_CONFIG
)
IMAGE, IDS, MASK = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
MODELS = {
    "t5": (t5_rules(T5_CONFIG), T5(T5_CONFIG), (IDS, MASK, IDS)),
    "t5_relu": (t5_rules(RELU_CONFIG), T5(RELU_CONFIG), (IDS, MASK, IDS)),
    "blip2": (BLIP2_VISION, ViT(VISION), (IMAGE,)),
    "clip": (CLIP, Clip(CLIP_CONFIG), (IMAGE, IDS)),
    "openai_clip": (OPENAI_CLIP, Clip(CLIP_CONFIG), (IMAGE, IDS)),
    "siglip": (SIGLIP, Siglip(SIGLIP_CONFIG), (IMAGE, IDS)),
}


def filled(name: str) -> tuple[dict, dict]:
    """The abstract tree of a model, and one with different values everywhere."""
    _, module, inputs = MODELS[name]
    abstract = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(0)
    return abstract, jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), abstract)


@pytest.mark.parametrize("name", MODELS)
def test_import_undoes_export(name):
    abstract, tree = filled(name)
    exported = export_weights(MODELS[name][0], tree)
    back = import_weights(MODELS[name][0], exported, abstract, "the export")
    jax.tree.map(np.testing.assert_array_equal, back, tree)


@pytest.mark.parametrize("layout", ["transformers", "lavis"])
def test_import_undoes_export_of_blip2(layout):
    abstract = unflatten(BLIP2_FAMILY.shapes(BLIP2_CONFIG))
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), abstract)
    table = blip2_rules(T5_CONFIG)
    if layout == "lavis":
        table = lavis_rules(VISION.depth, T5_CONFIG)
        with pytest.raises(ValueError, match="attention/key/bias' is not zero, and this layout has no place for it"):
            export_weights(table, tree)
        for block in tree["vision"]["encoder"].values():
            block["attention"]["key"]["bias"][:] = 0
    exported = export_weights(table, tree)
    back = import_weights(table, exported, abstract, "the export")
    jax.tree.map(np.testing.assert_array_equal, back, tree)
    # What EVA-CLIP's file has beyond BLIP-2's blocks is ignored, and nothing else is.
    exported["visual_encoder.blocks.2.norm1.weight"] = np.ones(12)
    if layout == "lavis":
        import_weights(table, exported, abstract, "the export")
        exported["visual_encoder.blocks.3.norm1.weight"] = np.ones(12)
    with pytest.raises(StoryjaxError, match="1 unused"):
        import_weights(table, exported, abstract, "the export")


def test_numbers_of_a_wrong_type_are_listed():
    abstract, tree = filled("clip")
    source = export_weights(CLIP, tree)
    source["text_projection.weight"] = source["text_projection.weight"].astype(np.int8)
    with pytest.raises(StoryjaxError, match=r"1 mistyped: text_projection\.weight int8"):
        import_weights(CLIP, source, abstract, "a file")


def test_all_misfits_are_listed_under_the_names_of_the_source():
    abstract, tree = filled("blip2")
    source = export_weights(BLIP2_VISION, tree)
    source["post_layer_norm.weight"] = source.pop("post_layernorm.weight")
    # One matrix where three should be fused, a transposed one, a vector for a matrix, and two rows for one.
    source["encoder.layers.0.self_attn.qkv.weight"] = np.zeros((12, 12), np.float32)
    source["encoder.layers.1.mlp.fc1.weight"] = source["encoder.layers.1.mlp.fc1.weight"].T
    source["embeddings.patch_embedding.weight"] = np.zeros(12, np.float32)
    source["embeddings.class_embedding"] = np.zeros((2, 1, 12), np.float32)
    source["encoder.layers.1.self_attn.qkv.bias"] = np.zeros(35, np.float32)
    with pytest.raises(StoryjaxError) as caught:
        import_weights(BLIP2_VISION, source, abstract, "a folder")
    assert str(caught.value) == (
        "the weights in a folder are of another model: 1 missing: post_layernorm.weight; "
        "1 unused: post_layer_norm.weight; 5 misshapen: embeddings.class_embedding (2, 1, 12) for (1, 1, 12), "
        "embeddings.patch_embedding.weight (12,) for (12, 3, 4, 4), "
        "encoder.layers.0.self_attn.qkv.weight (12, 12) for (36, 12), "
        "encoder.layers.1.mlp.fc1.weight (12, 16) for (16, 12), encoder.layers.1.self_attn.qkv.bias (35,) for (36,)"
    )


def test_repeated_arrays_must_be_the_same():
    abstract, tree = filled("t5")
    table = MODELS["t5"][0]
    source = export_weights(table, tree)
    source["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = np.zeros((32, 3))
    shared = source.pop("shared.weight")
    source |= {"encoder.embed_tokens.weight": shared, "decoder.embed_tokens.weight": shared.copy()}
    back = import_weights(table, source, abstract, "a file")
    np.testing.assert_array_equal(back["shared"]["embedding"], shared)
    source["decoder.embed_tokens.weight"] = shared + 1
    with pytest.raises(StoryjaxError, match=r"decoder\.embed_tokens\.weight \(it should equal shared\.weight\)"):
        import_weights(table, source, abstract, "a file")


def test_one_part_of_a_larger_checkpoint():
    source = {"vision_model.norm": np.zeros(1), "qformer.vision_model.norm": np.ones(1)}
    assert list(select(source, "vision_model.")) == ["norm"]


def test_a_model_that_the_table_does_not_know_is_a_defect():
    with pytest.raises(ValueError, match="no rule leads to 'head/kernel'"):
        import_weights(BLIP2_VISION, {}, {"head": {"kernel": jax.ShapeDtypeStruct((1,), jnp.float32)}}, "a file")
