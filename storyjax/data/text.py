"""Text to token ids and back: published tokenizers from a local folder, and a word list for small worlds."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers

from storyjax.core.errors import StoryjaxError

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of storyjax needs of a tokenizer. Neither method adds or expects start and end tokens.

    `bos_id` is the token that the published model's texts start with, None where there is none.
    """

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        ...

    @property
    def eos_id(self) -> int:
        """The id of the end token."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The id of the start token, None where there is none."""
        ...

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        ...

    def encode(self, text: str) -> list[int]:
        """Returns the ids of the text's tokens, without special ones."""

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of token ids, special ones left out."""


class WordTokenizer:
    """Whole words of a fixed list, lower case, punctuation apart; ids as T5's: padding 0, end 1, unknown 2."""

    pad_id, eos_id, unk_id = 0, 1, 2
    bos_id = None

    def __init__(self, backend: Backend):
        self._backend = backend

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "WordTokenizer":
        """Returns the tokenizer of these words, ids in their order."""
        vocabulary = {word: index for index, word in enumerate(dict.fromkeys([PAD, EOS, UNK, *words]))}
        backend = Backend(models.WordLevel(vocabulary, unk_token=UNK))
        backend.normalizer = normalizers.Lowercase()
        # Sentinels such as <extra_id_0> stay whole.
        backend.add_special_tokens([word for word in words if word.startswith("<extra_id_")])
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
        )
        return cls(backend)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "WordTokenizer":
        """Reads a tokenizer.json that `save` wrote."""
        try:
            return cls(Backend.from_file(str(path)))
        except Exception as error:  # the tokenizers package raises bare Exceptions
            raise StoryjaxError(f"cannot read the tokenizer {path}: {error}; export or fetch it again") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer as a tokenizer.json of the tokenizers package."""
        self._backend.save(str(path))

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Returns the ids of the text's tokens, without special ones."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of token ids, special ones left out."""
        words = [self._backend.id_to_token(int(index)) for index in ids if int(index) not in (self.pad_id, self.eos_id)]
        return " ".join(word or "" for word in words)


class HubTokenizer:
    """A published tokenizer (Flan-T5's, CLIP's) from a local folder, through the transformers package."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StoryjaxError(
                f"no tokenizer in {folder}: the folder is not there; put the model's tokenizer files there"
            )

    @cached_property
    def _backend(self):
        from transformers import AutoTokenizer  # takes 1.5 s, so only where it is used

        try:
            return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except ImportError as error:  # SigLIP's has no other implementation
            raise StoryjaxError(
                f"the tokenizer in {self.folder} needs sentencepiece: pip install 'storyjax[siglip]'"
            ) from error
        except (OSError, ValueError) as error:
            line = str(error).splitlines()[0]
            raise StoryjaxError(
                f"no tokenizer in {self.folder}: {line}; put the model's tokenizer files there"
            ) from error

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self._backend.pad_token_id

    @property
    def eos_id(self) -> int:
        """The id of the end."""
        return self._backend.eos_token_id

    @property
    def bos_id(self) -> int | None:
        """The id of the beginning."""
        return self._backend.bos_token_id

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self._backend)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of the text's tokens, without special ones."""
        return self._backend.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of token ids, special ones left out."""
        return self._backend.decode(list(ids), skip_special_tokens=True)


def pad(ids: Sequence[int], length: int, pad_id: int = 0) -> Int32[np.ndarray, " {length}"]:
    """Returns `ids` cut or padded behind to `length`."""
    out = np.full(length, pad_id, np.int32)
    kept = list(ids)[:length]
    out[: len(kept)] = kept
    return out


def encode_spliced(
    tokenizer: Tokenizer, text: str, length: int, marker: str = "*TOK*"
) -> tuple[Int32[np.ndarray, " {length}"], Int32[np.ndarray, " {length}"]]:
    """Returns ids and slots of a prompt in which vectors stand in for words (§4.3): "an image of *TOK* running".

    The text is split at the markers before it is tokenized, because BPE would break them up. The first marker is slot
    0, the second slot 1 and so on. The result begins with the tokenizer's start token, if it has one, and ends with its
    end token.

    Args:
        tokenizer: of the text tower.
        text: a prompt with any number of markers, also none.
        length: tokens of the result, start and end tokens included.
        marker: what stands for a vector.

    Returns:
        `ids` and `slots` of `length`; `slots` is -1 wherever a word or padding stands.

    Raises:
        StoryjaxError: the prompt has more tokens than `length`. Nothing is truncated.
    """
    ids = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    slots = [-1] * len(ids)
    # Looked up and then replaced, so any id will do but the end token's: CLIP pools there, and pads with it as well.
    stand_in = 0 if tokenizer.eos_id != 0 else 1
    for index, part in enumerate(text.split(marker)):
        if index:
            ids.append(stand_in)
            slots.append(index - 1)
        words = tokenizer.encode(part.strip()) if part.strip() else []
        ids.extend(words)
        slots.extend([-1] * len(words))
    ids.append(tokenizer.eos_id)
    if len(ids) > length:
        raise StoryjaxError(
            f"the prompt {text!r} has {len(ids)} tokens, the end token included, but the text tower takes {length}; "
            "shorten it"
        )
    return pad(ids, length, tokenizer.pad_id), pad(slots, length, -1)
