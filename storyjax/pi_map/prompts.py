"""Prompts with "*" for a token: their ids and slots, and the three captions of an object (thesis §5.3.2)."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.text import Tokenizer, encode_spliced
from storyjax.pi_map.captions import Captioner
from storyjax.weights.pretrained import Pretrained

MARKER = "*"
# "the *", "a posing *": captions that have an article for the object already.
_WITH_ARTICLE = re.compile(r"\b((?:an?|the|another|this|that)\s+(?:\w+(?:ing|ed)\s+|bent over\s+)?)\*", re.IGNORECASE)


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts with the tokenizer of a CLIP, which is read at the first use.

    `kind` is that of the network, for messages (`storyjax.weights.pretrained.KINDS`).
    """

    clip: Pretrained
    kind: str = "clip"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """CLIP's tokenizer; errors as of `Pretrained.tokenizer`."""
        return self.clip.tokenizer(self.kind)

    def encode(self, text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and slots (length,) of a prompt in which each "*" stands for a token; see `encode_spliced`.

        Raises:
            StoryjaxError: the prompt is longer than `length`.
        """
        return encode_spliced(self.tokenizer, text, length, marker=MARKER)

    def encode_fixed(self, text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `encode` of a prompt that a program holds; zeros while the tokenizer is not there.

        Then programs can be planned, but not run: whoever gives them data must ask for the tokenizer first.
        """
        try:
            _ = self.tokenizer
        except StoryjaxError:
            return np.zeros(length, np.int32), np.zeros(length, np.int32)
        return self.encode(text, length)


def with_category(prompt: str, category: str) -> str:
    """Returns the prompt with the object's category for each "*", and an article where the prompt has none for it.

    >>> with_category("* in front of the *", "dog")
    'a dog in front of the dog'
    """
    return _WITH_ARTICLE.sub(lambda found: f"{found[1]}{category}", prompt).replace(MARKER, f"a {category}")


def captions_of(name: str, category: str, captioner: Captioner | None, prompt: str) -> tuple[str, str, str]:
    """Returns (y*, y_s, y_g): the dense caption, the one with the object's name, and the one with its category.

    Without a captioner y* is y_s (Table 5.1b, "w/o Caption Augmentation").

    Args:
        name, category: of the object, "my dog Chia" and "dog".
        prompt: with "*" for the object.

    Raises:
        StoryjaxError: the captioner has no caption for it.
    """
    specific = prompt.replace(MARKER, name)
    dense = specific if captioner is None else captioner.describe(name, category)
    return dense, specific, with_category(prompt, category)
