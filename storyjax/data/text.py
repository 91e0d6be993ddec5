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

from storyjax.errors import StoryjaxError

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of storyjax needs of a tokenizer. Neither method adds or expects an end token."""

    pad_id: int
    eos_id: int
    vocab_size: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str: ...


class WordTokenizer:
    """Whole words of a fixed list, lower case, punctuation apart; ids as T5's: padding 0, end 1, unknown 2."""

    pad_id, eos_id, unk_id = 0, 1, 2

    def __init__(self, backend: Backend):
        self._backend = backend

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "WordTokenizer":
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
        self._backend.save(str(path))

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        words = [self._backend.id_to_token(int(index)) for index in ids if int(index) not in (self.pad_id, self.eos_id)]
        return " ".join(words)


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
        except (OSError, ValueError) as error:
            line = str(error).splitlines()[0]
            raise StoryjaxError(
                f"no tokenizer in {self.folder}: {line}; put the model's tokenizer files there"
            ) from error

    @property
    def pad_id(self) -> int:
        return self._backend.pad_token_id

    @property
    def eos_id(self) -> int:
        return self._backend.eos_token_id

    @property
    def vocab_size(self) -> int:
        return len(self._backend)

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._backend.decode(list(ids), skip_special_tokens=True)


def pad(ids: Sequence[int], length: int, pad_id: int = 0) -> Int32[np.ndarray, "{length}"]:
    """`ids` cut or padded behind to `length`."""
    out = np.full(length, pad_id, np.int32)
    kept = list(ids)[:length]
    out[: len(kept)] = kept
    return out
