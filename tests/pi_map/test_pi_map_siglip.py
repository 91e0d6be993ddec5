"""π-map on a SigLIP in the place of a CLIP (Table 5.6), from a folder as it is published."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import unflatten
from storyjax.data.text import WordTokenizer
from storyjax.pi_map.config import check_text_length, clip_square, frozen_parameters, make_model
from storyjax.pi_map.prompts import PromptEncoder
from storyjax.weights.pretrained import KINDS

WIDTH, LENGTH = 12, 8


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, transformers.SiglipModel]:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = WordTokenizer.from_words(["a", "photo", "of", "dog", "park"])
    text = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": LENGTH, "projection_size": WIDTH}
    torch.manual_seed(0)
    model = transformers.SiglipModel(
        transformers.SiglipConfig(
            vision_config={**sizes, "image_size": 14, "patch_size": 7}, text_config={**sizes, **text}
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("siglip")
    model.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")
    return folder, model


def unit(found: Any) -> np.ndarray:
    """A transformers' output as numpy vectors of unit length."""
    vectors = found if isinstance(found, torch.Tensor) else found.pooler_output
    return (vectors / vectors.norm(dim=-1, keepdim=True)).numpy()


def test_its_embeddings_are_the_published_ones_and_a_vector_takes_the_place_of_a_word(published) -> None:
    folder, theirs = published
    described = {"clip": {"family": "siglip", "weights": str(folder)}, "pi": {"width": WIDTH}}
    model, section = make_model(described)
    params = jax.tree.map(jnp.asarray, unflatten(frozen_parameters(section.clip)))
    embed_images, embed_texts = jax.jit(model.embed_images), jax.jit(model.embed_texts)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 14, 14, 3), dtype=np.uint8)
    prompts = PromptEncoder(section.clip, "siglip")
    ids, _ = prompts.encode("a photo of dog", LENGTH)
    with torch.no_grad():
        scaled = torch.tensor(pixels / 127.5 - 1).permute(0, 3, 1, 2).float()  # SigLIP's own normalisation
        images = unit(theirs.get_image_features(pixel_values=scaled))
        words = unit(theirs.get_text_features(input_ids=torch.tensor(ids[None])))
    np.testing.assert_allclose(embed_images(params, jnp.asarray(pixels)), images, atol=1e-5)
    np.testing.assert_allclose(embed_texts(params, jnp.asarray(ids[None])), words, atol=1e-5)
    spliced, slots = prompts.encode("a photo of *", LENGTH)
    embed_prompt = jax.jit(lambda tokens: model.embed_prompt(params, tokens, spliced, slots))
    dog = params["clip"]["text"]["token"]["embedding"][ids[3]][None]
    np.testing.assert_allclose(embed_prompt(dog), words, atol=1e-5)
    other = np.asarray(embed_prompt(-dog))
    assert np.abs(other - words).max() > 0.01
    # Published SigLIPs take the whole image, without its aspect ratio.
    assert not clip_square(model.config).keep_aspect
    check_text_length(model, LENGTH)
    for length in (LENGTH - 1, LENGTH + 1):
        with pytest.raises(StoryjaxError, match=f"text_length is {length}: the text tower takes {LENGTH}; set it"):
            check_text_length(model, length)


def test_a_missing_or_wrong_one_is_named_by_the_key_of_the_config(published, tmp_path: Path) -> None:
    folder, _ = published
    assert json.loads((folder / "config.json").read_text())["model_type"] == "siglip"
    with pytest.raises(StoryjaxError, match="of the type 'siglip', not 'clip'"):
        make_model({"clip": {"weights": str(folder)}, "pi": {"width": WIDTH}})
    with pytest.raises(StoryjaxError, match=r"config\.model\.clip\.weights: .* 'storyjax import siglip-so400m-14 "):
        make_model({"clip": {"family": "siglip", "weights": str(tmp_path / "none")}, "pi": {"width": WIDTH}})
    # At the published size every width is equal, as π-map needs them.
    large = KINDS["siglip"].presets["siglip_so400m14"]
    assert (large.projection_dim, large.text.width, large.text.max_length) == (1152, 1152, 64)
