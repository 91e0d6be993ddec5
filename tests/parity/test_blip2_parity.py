"""The published BLIP-2 checkpoint, from which thesis § 3.3 takes both frozen models, holds them key for key.

At full size, on the meta device. Blip2VisionModel and T5ForConditionalGeneration alone have the same keys.
"""

import jax
import jax.numpy as jnp
import torch
import transformers

from storyjax.nn.t5 import FLAN_T5_XL, T5
from storyjax.nn.vit import VIT_G14_BLIP2, ViT
from storyjax.weights.rules import BLIP2_VISION, import_weights, select, t5_rules


def test_vit_g14_and_flan_t5_xl_are_covered_to_the_last_key(arrays):
    text = transformers.T5Config(
        d_model=2048,
        d_ff=5120,
        num_heads=32,
        num_layers=24,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = transformers.Blip2ForConditionalGeneration(transformers.Blip2Config(text_config=text.to_dict()))
    source = arrays(model)
    image, ids = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32), jax.ShapeDtypeStruct((1, 4), jnp.int32)
    mask = jax.ShapeDtypeStruct((1, 4), bool)
    vision = jax.eval_shape(ViT(VIT_G14_BLIP2).init, jax.random.key(0), image)["params"]
    language = jax.eval_shape(T5(FLAN_T5_XL).init, jax.random.key(0), ids, mask, ids)["params"]
    vision = import_weights(BLIP2_VISION, select(source, "vision_model."), vision, "BLIP-2")
    language = import_weights(t5_rules(FLAN_T5_XL), select(source, "language_model."), language, "BLIP-2")
    assert sum(leaf.size for leaf in jax.tree.leaves(vision)) == 985_952_256
    assert sum(leaf.size for leaf in jax.tree.leaves(language)) == 2_849_757_184
    rest = {name.split(".")[0] for name in source} - {"vision_model", "language_model"}
    assert rest == {"qformer", "query_tokens", "language_projection"}
