"""A TCR between towers of a few thousand parameters, for tests of shape and logic."""

import jax
import pytest

from storyjax.models.t5 import T5, T5Config
from storyjax.models.vit import ViT, ViTConfig
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import Tcr, TcrConfig, TcrResampler

VISION = ViTConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, mlp_width=32)
LANGUAGE = T5Config(vocab_size=60, d_model=24, d_kv=8, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1)
RESAMPLER = TcrConfig(vocab_size=60, llm_width=24, width=32, heads=4, queries=6, max_prompt=8)


@pytest.fixture(scope="session")
def model() -> VideoLanguageModel:
    return VideoLanguageModel(ViT(VISION), TcrResampler(Tcr(RESAMPLER)), T5(LANGUAGE))


@pytest.fixture(scope="session")
def params(model: VideoLanguageModel) -> dict:
    return jax.jit(model.init)(jax.random.key(0))
