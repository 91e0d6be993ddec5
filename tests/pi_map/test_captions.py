"""Dense captions: from a file, from a language model, or none."""

import json
from pathlib import Path

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.pi_map.captions import CaptionFile, LanguageModel, make_captioner
from storyjax.pi_map.prompts import captions_of


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"my dog chia": "a small red dog"}))
    captioner = make_captioner(str(path))
    assert isinstance(captioner, CaptionFile)
    assert captioner.describe("my dog chia", "dog") == "a small red dog"
    with pytest.raises(StoryjaxError, match="no caption for 'my cat'"):
        captioner.describe("my cat", "cat")
    path.write_text("[]")
    with pytest.raises(StoryjaxError, match="cannot be read as captions"):
        CaptionFile(path).describe("my dog chia", "dog")


def test_without_augmentation_it_is_the_name() -> None:
    assert make_captioner("none") is None
    dense, specific, generic = captions_of("my dog chia", "dog", None, "a photo of * .")
    assert dense == specific == "a photo of my dog chia ."
    assert generic == "a photo of a dog ."


def test_a_missing_language_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="no language model"):
        make_captioner(str(tmp_path / "model"))


@pytest.mark.filterwarnings("ignore")
def test_a_language_model_writes_one_sentence_that_begins_with_the_name(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["my", "dog", "chia", "is", "a", "red", "<eos>"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(tmp_path)
    sizes = {"vocab_size": 7, "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}
    config = transformers.GPT2Config(**sizes, bos_token_id=6, eos_token_id=6)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    found = LanguageModel(tmp_path, max_tokens=4).describe("my dog chia", "dog")
    assert found.startswith("my dog chia is")
    assert "\n" not in found
