"""Every name that can be imported, at its full published size: its config.json, its last key, its parameters.

On the meta device, where arrays have shapes and no numbers.
"""

import math

import jax
import jax.numpy as jnp
import pytest
import references
import torch
import transformers

from storyjax.weights.registry import PUBLISHED, Published
from storyjax.weights.rules import plan

# Millions of parameters, where no other test says them to the last.
PARAMETERS = {
    "blip2-flan-t5-xl": 3_942_446_592,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "flan-t5-small": 76_961_152,
    "flan-t5-base": 247_577_856,
    "flan-t5-large": 783_150_080,
    "flan-t5-xl": 2_849_757_184,
    "flan-t5-xxl": 11_135_332_352,
    "clip-vit-b-32": 151_277_313,
    "clip-vit-b-16": 149_620_737,
    "clip-vit-l-14": 427_616_513,
    "clip-vit-h-14": 986_109_441,
    "siglip-so400m-14": 877_960_498,
}


def reference(name: str, published: Published) -> torch.nn.Module:
    """The model of transformers, without numbers."""
    with torch.device("meta"):
        if name.startswith("blip2"):
            return transformers.Blip2ForConditionalGeneration(references.blip2(published.config))
        if name.startswith("clip"):
            return transformers.CLIPModel(references.clip(published.config))
        if name.startswith("siglip"):
            return transformers.SiglipModel(references.siglip(published.config))
        return transformers.T5ForConditionalGeneration(references.t5(published.config.llm))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_published_size_is_covered_to_the_last_key(name: str) -> None:
    published = PUBLISHED[name]
    model = reference(name, published)
    assert published.family.from_hub(model.config) == published.config
    shapes = {path: tuple(leaf.shape) for path, leaf in published.family.shapes(published.config).items()}
    source = {key: jax.ShapeDtypeStruct(tuple(t.shape), jnp.float32) for key, t in model.state_dict().items()}
    plan(published.family.layouts[0].table(published.config), source, shapes, name)
    assert sum(math.prod(shape) for shape in shapes.values()) == PARAMETERS[name]


def test_sizes_that_are_parts_of_others() -> None:
    """BLIP-2 with another Flan-T5 is that Flan-T5, the same encoder, and a projection as wide."""
    whole, encoder = PUBLISHED["blip2-flan-t5-xl"].config, PUBLISHED["blip2-vit-g-14"].config
    assert encoder.vision == whole.vision
    for size in ("small", "base", "large", "xl", "xxl"):
        blip2, flan = PUBLISHED[f"blip2-flan-t5-{size}"].config, PUBLISHED[f"flan-t5-{size}"].config.llm
        assert blip2.vision == whole.vision
        assert blip2.qformer.llm_width == blip2.llm.d_model == flan.d_model
        assert (blip2.llm.num_layers, blip2.llm.d_ff) == (flan.num_layers, flan.d_ff)
