"""Dense captions y* of particular objects: from a file or a language model (thesis §5.3.1, Fig. 5.3b)."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder


@runtime_checkable
class Captioner(Protocol):
    """Describes an object by its name and category."""

    def describe(self, name: str, category: str) -> str:
        """Returns a sentence about an object, such as ("my dog Chia", "dog").

        Raises:
            StoryjaxError: there is none.
        """
        ...


class CaptionFile:
    """Captions in a file: JSON, {name: caption}."""

    def __init__(self, path: str | Path):
        self.path = place(path)

    @cached_property
    def captions(self) -> dict[str, str]:
        """The file's captions by name.

        Raises:
            StoryjaxError: it cannot be read as captions.
        """
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return {str(name): str(caption) for name, caption in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise StoryjaxError(
                f"{self.path} cannot be read as captions ({error}): it must be JSON, {{name: caption}}"
            ) from error

    def describe(self, name: str, category: str) -> str:
        """Returns the caption of a name; raises StoryjaxError if there is none."""
        del category
        if name not in self.captions:
            raise StoryjaxError(f"{self.path} has no caption for '{name}'; add one, or set config.data.captions='none'")
        return self.captions[name]


class LanguageModel:
    """A text generation model of `transformers` from a local folder; the extra is `captions`.

    The thesis gives the image to a multimodal model (REKA-Core). A text model knows only the name and the category, so
    its captions are denser but no more particular; prefer a file of captions where there is one.

    Raises:
        StoryjaxError: the folder holds no model.
    """

    PROMPT = (
        "Describe {name}, which is a {category}, in one detailed sentence of at most 30 words about what it looks like."
        " Begin with '{name} is'.\n"
    )

    def __init__(self, folder: str | Path, max_tokens: int = 48):
        self.folder, self.max_tokens = weights_folder(os.fspath(folder)), max_tokens
        if not (self.folder / "config.json").is_file():
            raise StoryjaxError(
                f"no language model in {folder}: put a published text generation model into that folder"
            )

    @cached_property
    def _generate(self) -> Any:
        try:
            import torch  # noqa: F401  (transformers' pipelines need it; heavy, and only needed here)
            from transformers import pipeline
        except ImportError as error:
            raise StoryjaxError(f"a language model needs {error.name}: pip install 'storyjax[captions]'") from error
        try:
            return pipeline("text-generation", model=str(self.folder), tokenizer=str(self.folder))
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{self.folder} holds no language model: {str(error).splitlines()[0]}") from error

    def describe(self, name: str, category: str) -> str:
        """Returns the model's first sentence, which begins with the name.

        Raises:
            StoryjaxError: the model cannot be loaded.
        """
        prompt = self.PROMPT.format(name=name, category=category)
        found = self._generate(prompt, max_new_tokens=self.max_tokens, do_sample=False, return_full_text=False)
        text = " ".join(found[0]["generated_text"].split())
        sentence = text.partition(". ")[0].rstrip(".")
        return sentence if sentence.lower().startswith(name.lower()) else f"{name} is {sentence}"


def make_captioner(source: str) -> Captioner | None:
    """Returns the captioner for "none", a .json file, or the folder of a language model.

    Raises:
        StoryjaxError: the folder holds no language model.
    """
    if source == "none":
        return None
    return CaptionFile(source) if Path(source).suffix == ".json" else LanguageModel(source)
