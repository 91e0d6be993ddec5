"""Frozen networks by reference: from the place of a network to its architecture, its parameters and its tokenizer.

Every config that names a frozen network does so with the two keys of `Pretrained`: `weights`, a folder, and `preset`, a
published architecture. A folder is one of three:

- one that `storyjax import` wrote: config.json describes a whole model, which the network may be a part of;
- a published one, as downloaded: config.json of the transformers package beside safetensors or PyTorch's files, or such
  files alone, whose architecture `preset` then names. Its tensors are converted one by one, when they are read;
- "shipped:NAME", which comes with the package.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import fit, unflatten, weights_folder
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.models.campplus import CAMPPLUS, CamPlusConfig
from storyjax.models.clip import CLIP_VIT_B16, CLIP_VIT_B32, CLIP_VIT_H14, CLIP_VIT_L14, ClipConfig
from storyjax.models.deformable_detr import DeformableDetrConfig
from storyjax.models.ecapa import ECAPA, EcapaConfig
from storyjax.models.laughter import RESNET_BASE, RESNET_WITH_AUGMENTATION, LaughterConfig
from storyjax.models.lwtnet import LWTNET, LwtConfig
from storyjax.models.qformer import QFormerConfig
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNetConfig
from storyjax.models.siglip import SIGLIP_SO400M14, SiglipConfig
from storyjax.models.t5 import FLAN_T5_XL, T5Config
from storyjax.models.vit import VIT_G14_BLIP2, ViTConfig
from storyjax.weights.conversion import match_layout, matches, plan_conversion
from storyjax.weights.model_family import Family, differences
from storyjax.weights.registry import (
    BLIP2_FAMILY,
    BLIP2_VISION_FAMILY,
    CLIP_FAMILY,
    DETR_FAMILY,
    FACE_FAMILY,
    SIGLIP_FAMILY,
    T5_FAMILY,
    Blip2Config,
    Blip2VisionConfig,
    LanguageModelConfig,
    with_exact_gelu,
)
from storyjax.weights.registry_audio import AUDIO
from storyjax.weights.source_files import TOKENIZER_FILES, has_weights, hub_config, open_checkpoint
from storyjax.weights.tensor_files import Tensor

# The names of a detector's classes, in the order of their outputs, in a folder that `storyjax import` wrote.
LABELS = "labels.json"


@dataclass(frozen=True)
class Source:
    """A family of published models that a network comes from.

    Attributes:
        family: the whole model, or the network alone.
        whole: the network's architecture -> the family's; None where the rest of the model does not follow from it, so
            that a config.json is needed.
        config: the class of the network's architecture, where its kind has several.
    """

    family: Family
    whole: Callable[[Any], Any] | None = None
    config: type = object


@dataclass(frozen=True)
class Kind:
    """A kind of frozen network.

    Attributes:
        config: the dataclass of its architecture; or several, by the "architecture" that config.json names.
        sources: the families it is published in.
        presets: published architectures by the name that configs have for them.
        example: how to get one, for the messages.
        key: below config.model, for the messages; None: the name of the kind.
    """

    config: type | Mapping[str, type]
    sources: tuple[Source, ...]
    presets: Mapping[str, Any] = field(default_factory=dict)
    example: str = ""
    key: str | None = None


def _itself(config: Any) -> Any:
    return config


def _blip2_around(llm: T5Config) -> Blip2Config:
    """The BLIP-2 with the published vision encoder and Q-Former and this language model."""
    return Blip2Config(qformer=QFormerConfig(llm_width=llm.d_model), llm=llm)


_BLIP2 = "'storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out {folder}'"
_CLIP = "'storyjax import clip-vit-b-32 --from openai/clip-vit-base-patch32 --out {folder}'"
KINDS: dict[str, Kind] = {
    "vision": Kind(
        ViTConfig,
        (Source(BLIP2_VISION_FAMILY, Blip2VisionConfig), Source(CLIP_FAMILY), Source(SIGLIP_FAMILY)),
        {"vit_g14_blip2": VIT_G14_BLIP2},
        _BLIP2,
    ),
    "llm": Kind(
        T5Config,
        (Source(T5_FAMILY, LanguageModelConfig), Source(BLIP2_FAMILY, _blip2_around)),
        # The second is for BLIP-2's own files without a config.json, which would say the activation.
        {"flan_t5_xl": FLAN_T5_XL, "flan_t5_xl_blip2": with_exact_gelu(FLAN_T5_XL)},
        _BLIP2,
    ),
    "qformer": Kind(QFormerConfig, (Source(BLIP2_FAMILY),), {}, _BLIP2),
    "clip": Kind(
        ClipConfig,
        (Source(CLIP_FAMILY, _itself),),
        {
            "clip_vit_b16": CLIP_VIT_B16,
            "clip_vit_b32": CLIP_VIT_B32,
            "clip_vit_l14": CLIP_VIT_L14,
            "clip_vit_h14": CLIP_VIT_H14,
        },
        _CLIP,
    ),
    # In the place of a CLIP (storyjax/pi_map/config.py).
    "siglip": Kind(
        SiglipConfig,
        (Source(SIGLIP_FAMILY, _itself),),
        {"siglip_so400m14": SIGLIP_SO400M14},
        "'storyjax import siglip-so400m-14 --from google/siglip-so400m-patch14-384 --out {folder}'",
        key="clip",
    ),
    "detector": Kind(
        DeformableDetrConfig,
        (Source(DETR_FAMILY, _itself),),
        {},
        "'storyjax import deformable-detr-r50-two-stage --from SenseTime/deformable-detr-with-box-refine-two-stage"
        " --out {folder}', or another Deformable DETR",
    ),
    "face": Kind(
        SEResNetConfig,
        (Source(FACE_FAMILY, _itself),),
        {"senet50_128": SE_RESNET_50_128D},
        "VGGFace2's senet50_128.pth (Visual Geometry Group, Oxford), put into {folder} as it is or by"
        " 'storyjax import senet50-128 --from senet50_128.pth --out {folder}'",
    ),
    "speaker_encoder": Kind(
        {"ecapa": EcapaConfig, "campplus": CamPlusConfig},
        (
            Source(AUDIO["ecapa"].family, _itself, EcapaConfig),
            Source(AUDIO["campplus"].family, _itself, CamPlusConfig),
        ),
        {"ecapa": ECAPA, "campplus": CAMPPLUS},
        "'storyjax import ecapa --from embedding_model.ckpt --out {folder}'",
    ),
    "laughter": Kind(
        {"laughter": LaughterConfig},
        (Source(AUDIO["laughter"].family, _itself),),
        {"laughter": RESNET_WITH_AUGMENTATION, "laughter-base": RESNET_BASE},
        "'storyjax import laughter --from best.pth.tar --out {folder}'",
    ),
    "lwtnet": Kind(
        {"lwtnet": LwtConfig},
        (Source(AUDIO["lwtnet"].family, _itself),),
        {"lwtnet": LWTNET},
        "'storyjax import lwtnet --from avobjects_loc_sep.pt --out {folder}'",
    ),
}


@dataclass(frozen=True)
class _Described:
    """What a folder's config.json says: the network's architecture and, of a published folder, the whole model's."""

    architecture: Any
    family: Family | None = None
    whole: Any = None


@dataclass(frozen=True)
class Pretrained:
    """A frozen network as a config names it.

    Attributes:
        weights: a folder, see the module; or "shipped:NAME".
        preset: the published architecture, where the folder is not there yet, or does not say it itself.
    """

    weights: str
    preset: str | None = None

    @property
    def folder(self) -> Path:
        """The folder on disk, whether it is there or not."""
        return weights_folder(self.weights)

    def file(self, name: str, kind: str) -> Path:
        """Returns the path of a file of the folder.

        Raises:
            StoryjaxError: it is not there; the message says what to get and where to put it.
        """
        path = self.folder / name
        if not path.exists():
            how = KINDS[kind].example.format(folder=self.folder)
            raise StoryjaxError(
                f"config.model.{KINDS[kind].key or kind}.weights: {path} is not there; get the weights of"
                f" {self.preset or kind} by {how},"
                " or use the config's ':embedded' variant"
            )
        return path

    def architecture(self, kind: str) -> Any:
        """Returns the config dataclass of the network, of the class that KINDS gives for `kind`.

        What the folder's own config.json says comes before the preset: they may differ in what no shape shows, such as
        the activation of a Flan-T5, which BLIP-2 runs with the exact GELU.

        Raises:
            StoryjaxError: an unknown preset, or one that the folder's own config.json contradicts; without a preset, no
                config.json, or one that describes another kind of network.
        """
        known = KINDS[kind]
        if self.preset is None:
            self.file("config.json", kind)
        else:
            choose(self.preset, known.presets, f"config.model.{known.key or kind}.preset")
        described = self._describe(kind)
        if self.preset is None:
            assert described is not None
            return described.architecture
        preset = known.presets[self.preset]
        if described is not None and (differing := differences(described.architecture, preset, self.preset)):
            raise StoryjaxError(
                f"config.model.{known.key or kind}.preset: {self.folder}/config.json is not that of {self.preset}:"
                f" {differing};"
                " leave the preset out, or name the folder that it belongs to"
            )
        return preset if described is None else described.architecture

    def parameters(self, kind: str) -> dict[str, Tensor]:
        """Returns the parameters by path below the network's own name, each read where it is needed.

        Raises:
            StoryjaxError: there are no weights, they are not whole or of another model, or nothing says which
                architecture they are of.
        """
        described = self._describe(kind)
        if not has_weights(self.folder):
            self.file("model.safetensors", kind)
        checkpoint = open_checkpoint(self.folder)
        prefix = f"{kind}/"
        # Our names are paths, whose modules are divided by slashes; published names have none.
        if any("/" in name for name in checkpoint.tensors):
            return _below(prefix, checkpoint.tensors) or dict(checkpoint.tensors)
        if described is not None and described.family is not None:
            family, whole = described.family, described.whole
        else:
            family, whole = self._source(kind, list(checkpoint.tensors))
        layout, tensors = match_layout(family, [checkpoint], self.weights)
        parameters = plan_conversion(family, whole, layout, tensors, self.weights).parameters()
        return _below(prefix, parameters) if hasattr(whole, kind) else parameters

    def network(self, kind: str) -> tuple[Any, dict[str, Any]]:
        """Returns (architecture, parameter tree in memory) of a network that is a family of its own, checked whole.

        Raises:
            StoryjaxError: as `architecture` and `parameters`, or the weights are not of the architecture.
        """
        architecture = self.architecture(kind)
        shapes = KINDS[kind].sources[0].family.shapes(architecture)
        stored = {path: np.asarray(tensor) for path, tensor in self.parameters(kind).items()}
        return architecture, fit(unflatten(shapes), stored, self.weights)

    def tokenizer(self, kind: str) -> Tokenizer:
        """Returns the tokenizer in the folder: a word list of ours, or a published one.

        Raises:
            StoryjaxError: there is none, or it does not load.
        """
        path = self.folder / "tokenizer.json"
        if path.exists():
            return WordTokenizer.load(path) if is_word_list(path) else HubTokenizer(self.folder)
        if any((self.folder / name).exists() for name in TOKENIZER_FILES):
            return HubTokenizer(self.folder)  # of the first publications, which kept vocabularies in other files
        return HubTokenizer(self.file("tokenizer.json", kind).parent)

    def _describe(self, kind: str) -> _Described | None:
        """What config.json says of the network; None where there is no such file."""
        path, known = self.folder / "config.json", KINDS[kind]
        if not path.is_file():
            return None
        try:
            stored = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"cannot read {path}: {error}; fetch or import the model again") from error
        if not isinstance(stored, dict):
            raise StoryjaxError(f"{path} does not describe a model; fetch or import it again")
        if "model_type" in stored:
            families = {name: source.family for source in known.sources for name in source.family.model_types}
            hub = hub_config([self.folder], tuple(families))
            family = families[hub.model_type]
            whole = family.from_hub(hub)
            return _Described(getattr(whole, kind, whole), family, whole)
        return _Described(_our_architecture(stored, kind, self.weights))

    def _source(self, kind: str, names: list[str]) -> tuple[Family, Any]:
        """The family of a published checkpoint that no config.json of its own describes, and the whole architecture."""
        architecture = self.architecture(kind)
        known = []
        for source in KINDS[kind].sources:
            if source.whole is not None and isinstance(architecture, source.config):
                if any(matches(layout, names) for layout in source.family.layouts):
                    return source.family, source.whole(architecture)
                known += [f"'{layout.signs[0]}...'" for layout in source.family.layouts]
        raise StoryjaxError(
            f"the weights in {self.weights} are of another model than {self.preset or kind}: they have '{names[0]}' and"
            f" so on, not {' or '.join(known) or 'the names of ours'}"
        )


def _our_architecture(stored: dict[str, Any], kind: str, weights: str) -> Any:
    """What a config.json of ours says of a network: in a section of its name, or alone."""
    config = KINDS[kind].config
    section = stored.get(kind, stored)
    if not isinstance(config, type):
        name = section.get("architecture")
        if name not in config:
            raise StoryjaxError(
                f"{weights} holds no {kind} but {name or 'another model'}: give one of {', '.join(config)}"
            )
        config = config[name]
    if section is stored and not set(stored) & {one.name for one in dataclasses.fields(config)}:
        raise StoryjaxError(f"{weights}/config.json describes {', '.join(stored)}, no '{kind}'")
    return from_config(config, section, f"{weights}/config.json {kind}")


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def is_word_list(path: Path) -> bool:
    """Returns whether a tokenizer.json is a list of whole words, as StoryWorld's networks have, not a published one.

    Published tokenizers split words into pieces, and say in a second file what class they are of.

    Raises:
        StoryjaxError: the file cannot be read.
    """
    try:
        model = json.loads(path.read_text("utf-8")).get("model", {})
    except (OSError, ValueError, AttributeError) as error:
        raise StoryjaxError(f"cannot read the tokenizer {path}: {error}; export or fetch it again") from error
    return model.get("type") == "WordLevel" and not (path.parent / "tokenizer_config.json").exists()
