"""The published models that `storyjax import` knows: their families, sizes, layouts, and what their config.json says.

A family (T5, CLIP, SigLIP, BLIP-2 ...) is one architecture of ours with the layouts in which it is published. A name is
a family of a given size, or the family itself, whose size is read from the checkpoint's own config.json.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.models import clip, siglip, t5
from storyjax.models.deformable_detr import DeformableDetr, DeformableDetrConfig
from storyjax.models.qformer import QFormer, QFormerConfig
from storyjax.models.resnet import RESNET_18, RESNET_50, ResNet
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNet
from storyjax.models.vit import VIT_G14_BLIP2, ViT, ViTConfig
from storyjax.weights.model_family import Family, Layout, Published, abstract_parameters, no_hub_config
from storyjax.weights.registry_audio import AUDIO
from storyjax.weights.rules import CLIP, RuleTable, t5_rules
from storyjax.weights.tables import deformable_detr, face, vision_language


def with_exact_gelu(llm: t5.T5Config) -> t5.T5Config:
    """Returns the config of a Flan-T5 as BLIP-2 runs it, with the exact GELU."""
    return dataclasses.replace(llm, gate_activation="gelu")


@dataclass(frozen=True)
class Blip2Config:
    """A vision encoder, the Q-Former that reads it, and the T5 that reads the Q-Former."""

    vision: ViTConfig = VIT_G14_BLIP2
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    llm: t5.T5Config = field(default_factory=lambda: with_exact_gelu(t5.FLAN_T5_XL))


@dataclass(frozen=True)
class Blip2VisionConfig:
    """BLIP-2's vision encoder alone."""

    vision: ViTConfig = VIT_G14_BLIP2


@dataclass(frozen=True)
class LanguageModelConfig:
    """A T5, under the name that it has in config.json and among the parameters."""

    llm: t5.T5Config


def _image(config: ViTConfig) -> tuple[tuple[int, ...], Any]:
    return (1, config.image_size, config.image_size, 3), jnp.float32


_IDS, _MASK = ((1, 4), jnp.int32), ((1, 4), bool)


def _t5_shapes(config: LanguageModelConfig) -> dict[str, Any]:
    return flatten({"llm": abstract_parameters(t5.T5(config.llm), _IDS, _MASK, _IDS)})


def _blip2_shapes(config: Blip2Config) -> dict[str, Any]:
    tokens = ((1, 4, config.vision.width), jnp.float32)
    return {
        **_vision_shapes(config),
        **flatten({"qformer": abstract_parameters(QFormer(config.qformer), tokens)}),
        **_t5_shapes(LanguageModelConfig(config.llm)),
    }


def _vision_shapes(config: Blip2Config | Blip2VisionConfig) -> dict[str, Any]:
    return flatten({"vision": abstract_parameters(ViT(config.vision), _image(config.vision))})


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise StoryjaxError(f"config.json has the activation '{name}'; storyjax knows {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _t5_from_hub(hub: Any) -> LanguageModelConfig:
    return LanguageModelConfig(_t5_config(hub))


def _t5_config(hub: Any) -> t5.T5Config:
    if hub.model_type != "t5":
        raise StoryjaxError(f"its language model is of the type '{hub.model_type}'; storyjax takes a 't5'")
    gated = hub.feed_forward_proj.startswith("gated-")
    return t5.T5Config(
        vocab_size=hub.vocab_size,
        d_model=hub.d_model,
        d_kv=hub.d_kv,
        d_ff=hub.d_ff,
        num_heads=hub.num_heads,
        num_layers=hub.num_layers,
        num_decoder_layers=hub.num_decoder_layers,
        relative_attention_num_buckets=hub.relative_attention_num_buckets,
        relative_attention_max_distance=hub.relative_attention_max_distance,
        eps=hub.layer_norm_epsilon,
        feed_forward="gated-gelu" if gated else _activation(hub.feed_forward_proj),
        gate_activation=_activation(hub.dense_act_fn) if gated else "gelu_tanh",
        # Outputs are scaled where the matrix is shared; `tie_word_embeddings` itself is True for every T5.
        tie_word_embeddings=bool(hub.scale_decoder_outputs),
        pad_id=hub.pad_token_id,
        eos_id=hub.eos_token_id,
        decoder_start_id=getattr(hub, "decoder_start_token_id", None) or 0,
    )


def _vision_config(hub: Any, **options: Any) -> ViTConfig:
    return ViTConfig(
        image_size=hub.image_size,
        patch_size=hub.patch_size,
        width=hub.hidden_size,
        depth=hub.num_hidden_layers,
        heads=hub.num_attention_heads,
        mlp_width=hub.intermediate_size,
        activation=_activation(hub.hidden_act),
        eps=hub.layer_norm_eps,
        **options,
    )


def _text_sizes(hub: Any) -> dict[str, Any]:
    return {
        "vocab_size": hub.vocab_size,
        "max_length": hub.max_position_embeddings,
        "width": hub.hidden_size,
        "depth": hub.num_hidden_layers,
        "heads": hub.num_attention_heads,
        "mlp_width": hub.intermediate_size,
        "activation": _activation(hub.hidden_act),
        "eps": hub.layer_norm_eps,
    }


def _clip_from_hub(hub: Any) -> clip.ClipConfig:
    text = hub.text_config
    # The first published files say 2, and their code then takes the largest id, which is that of the end token.
    eos = text.vocab_size - 1 if text.eos_token_id == 2 else text.eos_token_id
    return clip.ClipConfig(
        vision=_vision_config(hub.vision_config, patch_bias=False, pre_norm_embed=True),
        text=clip.ClipTextConfig(**_text_sizes(text), eos_id=eos),
        projection_dim=hub.projection_dim,
        logit_scale_init=hub.logit_scale_init_value,
    )


def _siglip_from_hub(hub: Any) -> siglip.SiglipConfig:
    vision, text = hub.vision_config, hub.text_config
    if not vision.vision_use_head or text.projection_size != vision.hidden_size:
        raise StoryjaxError(
            "config.json describes a SigLIP without its image head, or of two widths; storyjax has none"
        )
    return siglip.SiglipConfig(
        vision=_vision_config(vision, cls_token=False),
        text=siglip.SiglipTextConfig(**_text_sizes(text), pad_id=text.pad_token_id),
    )


def _blip2_from_hub(hub: Any) -> Blip2Config:
    former, vision = hub.qformer_config, hub.vision_config
    if former.use_qformer_text_input:
        raise StoryjaxError("config.json describes a Q-Former that also reads text; storyjax's reads images alone")
    return Blip2Config(
        vision=_vision_config(vision, qkv_bias=vision.qkv_bias),
        qformer=QFormerConfig(
            queries=hub.num_query_tokens,
            width=former.hidden_size,
            depth=former.num_hidden_layers,
            heads=former.num_attention_heads,
            mlp_width=former.intermediate_size,
            activation=_activation(former.hidden_act),
            cross_every=former.cross_attention_frequency,
            vision_width=vision.hidden_size,
            llm_width=hub.text_config.d_model if hub.text_config.model_type == "t5" else 0,
            eps=former.layer_norm_eps,
        ),
        llm=_t5_config(hub.text_config),
    )


_FRAME = ((1, 256, 256, 3), jnp.float32)  # of tokens enough for 300 proposals
HUB_LAYOUT = "transformers"
T5_FAMILY = Family(
    ("t5",),
    _t5_shapes,
    _t5_from_hub,
    (Layout(HUB_LAYOUT, lambda config: t5_rules(config.llm).placed("", "llm/"), ("encoder.", "decoder.")),),
)
CLIP_FAMILY = Family(
    ("clip",),
    lambda config: flatten(abstract_parameters(clip.Clip(config), _image(config.vision), _IDS)),
    _clip_from_hub,
    (
        Layout(HUB_LAYOUT, lambda config: CLIP, ("vision_model.", "text_model.")),
        Layout("OpenAI", lambda config: vision_language.OPENAI_CLIP, ("visual.",)),
    ),
)
SIGLIP_FAMILY = Family(
    ("siglip",),
    lambda config: flatten(abstract_parameters(siglip.Siglip(config), _image(config.vision), _IDS)),
    _siglip_from_hub,
    (Layout(HUB_LAYOUT, lambda config: vision_language.SIGLIP, ("vision_model.", "text_model.")),),
)
_LAVIS_SIGNS = ("visual_encoder.", "Qformer.")
BLIP2_FAMILY = Family(
    ("blip-2",),
    _blip2_shapes,
    _blip2_from_hub,
    (
        Layout(HUB_LAYOUT, lambda config: vision_language.blip2_rules(config.llm), ("vision_model.", "qformer.")),
        Layout(
            "LAVIS",
            lambda config: vision_language.lavis_rules(config.vision.depth, config.llm),
            _LAVIS_SIGNS,
            vision_language.lavis_name,
        ),
    ),
)
BLIP2_VISION_FAMILY = Family(
    ("blip-2",),
    _vision_shapes,
    lambda hub: Blip2VisionConfig(_vision_config(hub.vision_config, qkv_bias=hub.vision_config.qkv_bias)),
    (
        Layout(HUB_LAYOUT, lambda config: vision_language.BLIP2_VISION_ALONE, ("vision_model.",)),
        Layout(
            "LAVIS",
            lambda config: vision_language.lavis_vision_rules(config.vision.depth),
            (*_LAVIS_SIGNS, "blocks."),
            vision_language.lavis_name,
        ),
    ),
    needs_tokenizer=False,
)

DETR_FAMILY = Family(
    ("deformable_detr",),
    lambda config: flatten(abstract_parameters(DeformableDetr(config), _FRAME)),
    deformable_detr.detr_from_hub,
    (
        Layout(HUB_LAYOUT, deformable_detr.hub_rules, ("model.",), deformable_detr.hub_name),
        Layout("original", deformable_detr.original_rules, ("transformer.",)),
    ),
    needs_tokenizer=False,
)
RESNET_FAMILY = Family(
    ("resnet",),
    lambda config: flatten({"backbone": abstract_parameters(ResNet(config), _FRAME)}),
    lambda hub: deformable_detr.resnet_from_hub(hub, RESNET_50.outputs),
    (
        Layout(
            HUB_LAYOUT,
            lambda config: (
                deformable_detr.resnet_rules(config).placed("", "backbone/") + RuleTable((), ignored=("classifier.*",))
            ),
            ("resnet.", "embedder."),  # with a classifier, and without
            deformable_detr.resnet_name,
        ),
        Layout("torchvision", lambda config: deformable_detr.resnet_rules(config).placed("", "backbone/"), ("conv1.",)),
    ),
    needs_tokenizer=False,
)
FACE_FAMILY = Family(
    (),  # no config.json comes with it
    lambda config: flatten(
        abstract_parameters(SEResNet(config), ((1, config.image_size, config.image_size, 3), jnp.float32))
    ),
    no_hub_config,
    (Layout("VGGFace2", face.seresnet_rules, ("conv1_7x7_s2.",)),),
    needs_tokenizer=False,
)
_DETR = DeformableDetrConfig()
_REFINED = dataclasses.replace(_DETR, box_refine=True)
_TWO_STAGE = dataclasses.replace(_REFINED, two_stage=True)
_SENSETIME = "SenseTime/deformable-detr"


def _t5_sizes() -> Iterable[tuple[str, Published]]:
    first = {"small": t5.T5_SMALL, "base": t5.T5_BASE, "large": t5.T5_LARGE, "3b": t5.T5_3B, "11b": t5.T5_11B}
    for size, config in first.items():
        yield f"t5-{size}", Published(T5_FAMILY, LanguageModelConfig(config), f"google-t5/t5-{size}")
    for size, config in FLAN_SIZES.items():
        yield f"flan-t5-{size}", Published(T5_FAMILY, LanguageModelConfig(config), f"google/flan-t5-{size}")


def _blip2_sizes() -> Iterable[tuple[str, Published]]:
    for size, config in FLAN_SIZES.items():
        llm = with_exact_gelu(config)
        whole = Blip2Config(qformer=QFormerConfig(llm_width=llm.d_model), llm=llm)
        hub = f"Salesforce/blip2-flan-t5-{size}" if size in ("xl", "xxl") else ""
        yield f"blip2-flan-t5-{size}", Published(BLIP2_FAMILY, whole, hub)


FLAN_SIZES = {
    "small": t5.FLAN_T5_SMALL,
    "base": t5.FLAN_T5_BASE,
    "large": t5.FLAN_T5_LARGE,
    "xl": t5.FLAN_T5_XL,
    "xxl": t5.FLAN_T5_XXL,
}
PUBLISHED: dict[str, Published] = {
    **dict(_blip2_sizes()),
    "blip2-vit-g-14": Published(BLIP2_VISION_FAMILY, Blip2VisionConfig(), "Salesforce/blip2-flan-t5-xl"),
    **dict(_t5_sizes()),
    "clip-vit-b-32": Published(CLIP_FAMILY, clip.CLIP_VIT_B32, "openai/clip-vit-base-patch32"),
    "clip-vit-b-16": Published(CLIP_FAMILY, clip.CLIP_VIT_B16, "openai/clip-vit-base-patch16"),
    "clip-vit-l-14": Published(CLIP_FAMILY, clip.CLIP_VIT_L14, "openai/clip-vit-large-patch14"),
    "clip-vit-h-14": Published(CLIP_FAMILY, clip.CLIP_VIT_H14, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    "siglip-so400m-14": Published(SIGLIP_FAMILY, siglip.SIGLIP_SO400M14, "google/siglip-so400m-patch14-384"),
    "deformable-detr-r50": Published(DETR_FAMILY, _DETR, _SENSETIME),
    "deformable-detr-r50-refine": Published(DETR_FAMILY, _REFINED, f"{_SENSETIME}-with-box-refine"),
    "deformable-detr-r50-two-stage": Published(DETR_FAMILY, _TWO_STAGE, f"{_SENSETIME}-with-box-refine-two-stage"),
    "resnet-50": Published(RESNET_FAMILY, RESNET_50, "microsoft/resnet-50"),
    "resnet-18": Published(RESNET_FAMILY, RESNET_18, "microsoft/resnet-18"),
    "senet50-128": Published(
        FACE_FAMILY, SE_RESNET_50_128D, "VGGFace2 (Visual Geometry Group, Oxford): senet50_128.pth"
    ),
    "blip2": Published(BLIP2_FAMILY),
    "t5": Published(T5_FAMILY),
    "clip": Published(CLIP_FAMILY),
    "siglip": Published(SIGLIP_FAMILY),
    "deformable-detr": Published(DETR_FAMILY),
    "resnet": Published(RESNET_FAMILY),
    **AUDIO,
}


def listing() -> str:
    """Returns all names and where each is published, a line each."""
    places = {name: model.hub or "no such checkpoint is published" for name, model in PUBLISHED.items()}
    places |= {name: "any size: its config.json says" for name, model in PUBLISHED.items() if model.config is None}
    return "\n".join(f"{name:20} {place}" for name, place in places.items())
