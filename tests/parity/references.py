"""The configs of transformers that describe architectures of ours."""

from typing import Any

import transformers

from storyjax.models.clip import ClipConfig, ClipTextConfig
from storyjax.models.siglip import SiglipConfig, SiglipTextConfig
from storyjax.models.t5 import T5Config
from storyjax.models.vit import ViTConfig
from storyjax.weights.registry import ACTIVATIONS, Blip2Config

THEIRS = {ours: theirs for theirs, ours in ACTIVATIONS.items()}


def _sizes(encoder: ViTConfig | ClipTextConfig | SiglipTextConfig) -> dict[str, Any]:
    return {
        "hidden_size": encoder.width,
        "intermediate_size": encoder.mlp_width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "hidden_act": THEIRS[encoder.activation],
        "layer_norm_eps": encoder.eps,
    }


def _vision(encoder: ViTConfig) -> dict[str, Any]:
    return {**_sizes(encoder), "image_size": encoder.image_size, "patch_size": encoder.patch_size}


def _text(encoder: ClipTextConfig | SiglipTextConfig) -> dict[str, Any]:
    return {**_sizes(encoder), "vocab_size": encoder.vocab_size, "max_position_embeddings": encoder.max_length}


def t5(config: T5Config) -> transformers.T5Config:
    # A published config.json that asks for another GELU does so under the name of the function.
    asked = {"dense_act_fn": "gelu"} if config.gate_activation == "gelu" else {}
    return transformers.T5Config(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        feed_forward_proj=config.feed_forward,
        tie_word_embeddings=config.tie_word_embeddings,
        decoder_start_token_id=config.decoder_start_id,
        **asked,
    )


def clip(config: ClipConfig) -> transformers.CLIPConfig:
    return transformers.CLIPConfig(
        vision_config={**_vision(config.vision), "projection_dim": config.projection_dim},
        text_config={
            **_text(config.text),
            "projection_dim": config.projection_dim,
            "bos_token_id": 0,
            "eos_token_id": config.text.eos_id,
        },
        projection_dim=config.projection_dim,
    )


def siglip(config: SiglipConfig) -> transformers.SiglipConfig:
    text = {**_text(config.text), "projection_size": config.vision.width, "bos_token_id": 0, "eos_token_id": 1}
    return transformers.SiglipConfig(vision_config=_vision(config.vision), text_config=text)


def blip2(config: Blip2Config) -> transformers.Blip2Config:
    former = config.qformer
    return transformers.Blip2Config(
        vision_config={**_vision(config.vision), "qkv_bias": config.vision.qkv_bias},
        qformer_config={
            "hidden_size": former.width,
            "intermediate_size": former.mlp_width,
            "num_hidden_layers": former.depth,
            "num_attention_heads": former.heads,
            "cross_attention_frequency": former.cross_every,
        },
        text_config=t5(config.llm).to_dict(),
        num_query_tokens=former.queries,
        image_token_index=config.llm.vocab_size - 1,
    )
