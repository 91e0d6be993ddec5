"""Frozen networks by reference: from where a network lies to its architecture, its parameters and its tokenizer.

Every config that names a frozen network does so with the two keys of `Pretrained`: `weights`, a folder, and `preset`, a
published architecture. A folder is one that `storyjax import` wrote, or "shipped:NAME", which comes with the package.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.models.clip import CLIP_VIT_B16, CLIP_VIT_B32, CLIP_VIT_L14, ClipConfig
from storyjax.models.qformer import QFormerConfig
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNetConfig
from storyjax.models.t5 import FLAN_T5_XL, T5Config
from storyjax.models.vit import VIT_G14_BLIP2, ViTConfig
from storyjax.weights.tensor_files import StoredTensor, stored_tensors


@dataclass(frozen=True)
class Kind:
    """A kind of frozen network.

    Attributes:
        config: the dataclass of its architecture.
        presets: published architectures by the name that configs have for them.
        shared: whether one folder may hold this network beside others; its tensors and its section of config.json then
            have the kind's name before them.
        example: how to get one, for the messages.
    """

    config: type
    presets: Mapping[str, Any] = field(default_factory=dict)
    shared: bool = False
    example: str = ""


_BLIP2 = "'storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out {folder}'"
_CLIP = "'storyjax import clip-vit-b-32 --from openai/clip-vit-base-patch32 --out {folder}'"
KINDS: dict[str, Kind] = {
    "vision": Kind(ViTConfig, {"vit_g14_blip2": VIT_G14_BLIP2}, True, _BLIP2),
    "llm": Kind(T5Config, {"flan_t5_xl": FLAN_T5_XL}, True, _BLIP2),
    "qformer": Kind(QFormerConfig, {}, True, _BLIP2),
    "clip": Kind(
        ClipConfig,
        {"clip_vit_b16": CLIP_VIT_B16, "clip_vit_b32": CLIP_VIT_B32, "clip_vit_l14": CLIP_VIT_L14},
        False,
        _CLIP,
    ),
    "face": Kind(
        SEResNetConfig,
        {"senet50_128": SE_RESNET_50_128D},
        False,
        "VGGFace2's senet50_128.pth (Visual Geometry Group, Oxford), saved as {folder}/model.safetensors",
    ),
}


@dataclass(frozen=True)
class Pretrained:
    """A frozen network as a config names it.

    Attributes:
        weights: a folder with config.json, model.safetensors and, for text, the tokenizer's files; or "shipped:NAME".
        preset: the published architecture, where the folder is not there yet to say it itself.
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
                f"config.model.{kind}.weights: {path} is not there; get the weights of {self.preset or kind} by {how},"
                " or use the config's ':embedded' variant"
            )
        return path

    def architecture(self, kind: str) -> Any:
        """Returns the config dataclass of the network, of the class that KINDS gives for `kind`.

        Raises:
            StoryjaxError: an unknown preset, no config.json, or one that describes another kind of network.
        """
        known = KINDS[kind]
        if self.preset is not None:
            return known.presets[choose(self.preset, known.presets, f"config.model.{kind}.preset")]
        stored = json.loads(self.file("config.json", kind).read_text("utf-8"))
        if known.shared and kind not in stored:
            raise StoryjaxError(f"{self.folder}/config.json describes {', '.join(stored)}, no '{kind}' tower")
        return from_config(known.config, stored.get(kind, stored), f"{self.weights}/config.json {kind}")

    def parameters(self, kind: str) -> dict[str, StoredTensor]:
        """Returns the parameters by path below the network's own name, each read where it is needed.

        Raises:
            StoryjaxError: there is no model.safetensors, or it is not whole.
        """
        path = self.file("model.safetensors", kind)
        prefix = f"{kind}/" if KINDS[kind].shared else ""
        return {name.removeprefix(prefix): tensor for name, tensor in stored_tensors(path, prefix).items()}

    def tokenizer(self, kind: str) -> Tokenizer:
        """Returns the tokenizer that lies in the folder: a word list of ours, or a published one.

        Raises:
            StoryjaxError: there is none, or it does not load.
        """
        path = self.file("tokenizer.json", kind)
        return WordTokenizer.load(path) if is_word_list(path) else HubTokenizer(path.parent)


def is_word_list(path: Path) -> bool:
    """Returns whether a tokenizer.json is a list of whole words, as StoryWorld's towers have, not a published one.

    Published tokenizers split words into pieces, and say in a second file what class they are of.
    """
    try:
        model = json.loads(path.read_text("utf-8")).get("model", {})
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"cannot read the tokenizer {path}: {error}; export or fetch it again") from error
    return model.get("type") == "WordLevel" and not (path.parent / "tokenizer_config.json").exists()
