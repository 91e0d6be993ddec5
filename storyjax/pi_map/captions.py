"""Dense captions y* of particular objects: from a file, or from a language model (thesis §5.3.1, Fig. 5.3b)."""

import json
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from storyjax.core.errors import StoryjaxError


@runtime_checkable
class Captioner(Protocol):
    """Turns what an owner calls a thing into a description of it."""

    def describe(self, name: str, category: str) -> str:
        """A sentence about the object, for instance of ("my dog Chia", "dog"). Raises StoryjaxError if it has none."""
        ...


class CaptionFile:
    """Captions in a file: JSON, {name: caption}."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @cached_property
    def captions(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return {str(name): str(caption) for name, caption in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise StoryjaxError(
                f"{self.path} cannot be read as captions ({error}): it must be JSON, {{name: caption}}"
            ) from error

    def describe(self, name: str, category: str) -> str:
        del category
        if name not in self.captions:
            raise StoryjaxError(f"{self.path} has no caption for '{name}'; add one, or set config.data.captions='none'")
        return self.captions[name]


class LanguageModel:
    """A text generation model of `transformers` from a local folder; the extra is `captions`.

    The thesis shows the picture to a multimodal model (REKA-Core). A model of text alone knows only the name and the
    kind, so what it writes is denser but not more particular; prefer a file of captions where there is one.
    """

    PROMPT = (
        "Describe {name}, which is a {category}, in one detailed sentence of at most 30 words about what it looks like."
        " Begin with '{name} is'.\n"
    )

    def __init__(self, folder: str | Path, most_tokens: int = 48):
        self.folder, self.most_tokens = Path(folder), most_tokens
        if not (self.folder / "config.json").is_file():
            raise StoryjaxError(
                f"no language model in {folder}: put a published text generation model into that folder"
            )

    @cached_property
    def _generate(self):
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
        prompt = self.PROMPT.format(name=name, category=category)
        found = self._generate(prompt, max_new_tokens=self.most_tokens, do_sample=False, return_full_text=False)
        text = " ".join(found[0]["generated_text"].split())
        sentence = text.partition(". ")[0].rstrip(".")
        return sentence if sentence.lower().startswith(name.lower()) else f"{name} is {sentence}"


def make_captioner(source: str) -> Captioner | None:
    """The captioner that `config.data.captions` names: "none", a .json file, or the folder of a language model."""
    if source == "none":
        return None
    return CaptionFile(source) if Path(source).suffix == ".json" else LanguageModel(source)
