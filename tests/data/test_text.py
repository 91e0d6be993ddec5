"""Word lists and published tokenizers speak alike; padding is fixed in length."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from storyjax.core.errors import StoryjaxError
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer, encode_spliced, pad

WORDS = ["who", "is", "anna", "'", "s", "dog", "?", "option", "a", "."]


def test_words_and_back():
    tokenizer = WordTokenizer.from_words(WORDS)
    assert isinstance(tokenizer, Tokenizer)
    ids = tokenizer.encode("Who is Anna's dog?")
    assert ids == [3, 4, 5, 6, 7, 8, 9]
    assert tokenizer.decode([*ids, tokenizer.eos_id, tokenizer.pad_id]) == "who is anna ' s dog ?"
    assert tokenizer.encode("who is Bob?") == [3, 4, tokenizer.unk_id, 9]
    assert tokenizer.encode("") == []
    assert tokenizer.vocab_size == len(WORDS) + 3
    assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 1)  # T5's: padding also starts the decoder


def test_a_saved_tokenizer_is_the_same(tmp_path):
    tokenizer = WordTokenizer.from_words(WORDS)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = WordTokenizer.load(tmp_path / "tokenizer.json")
    assert again.encode("Option A. is anna") == tokenizer.encode("Option A. is anna")
    assert again.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_an_unreadable_tokenizer_is_one_line(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoryjaxError, match=r"cannot read the tokenizer .*tokenizer\.json") as caught:
        WordTokenizer.load(path)
    assert "\n" not in str(caught.value)


def test_published_tokenizers_from_a_folder(tmp_path):
    backend = Backend(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "who": 3, "sleeps": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])  # as T5's own does
    backend.save(str(tmp_path / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = HubTokenizer(tmp_path)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.encode("who sleeps") == [3, 4]  # the end token is the caller's to add
    assert tokenizer.decode([3, 4, 1, 0]) == "who sleeps"
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 5)


def test_a_folder_without_a_tokenizer(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoryjaxError, match=r"no tokenizer in .*put the model's tokenizer files there") as caught:
            HubTokenizer(folder).encode("who")
        assert "\n" not in str(caught.value)


def test_padding():
    np.testing.assert_array_equal(pad([5, 6], 4), np.array([5, 6, 0, 0], np.int32), strict=True)
    np.testing.assert_array_equal(pad([5, 6, 7], 2, pad_id=9), np.array([5, 6], np.int32), strict=True)
    np.testing.assert_array_equal(pad([], 2, pad_id=9), np.array([9, 9], np.int32), strict=True)


def test_markers_become_slots():
    tokenizer = WordTokenizer.from_words(["a", "and", "dog", "."])
    ids, slots = encode_spliced(tokenizer, "a *TOK* and *TOK* .", 8)
    np.testing.assert_array_equal(ids, [3, 0, 4, 0, 6, 1, 0, 0])
    np.testing.assert_array_equal(slots, [-1, 0, -1, 1, -1, -1, -1, -1])
    ids, slots = encode_spliced(tokenizer, "a dog", 3)
    np.testing.assert_array_equal(ids, [3, 5, 1])
    assert (slots == -1).all()
    with pytest.raises(StoryjaxError, match="has 4 tokens, the end token included, but the text tower takes 3"):
        encode_spliced(tokenizer, "a dog .", 3)


class ClipLike(WordTokenizer):
    """Starts its texts, and pads with its end token, as CLIP's tokenizer does."""

    pad_id = eos_id = 1
    bos_id = 2


def test_a_marker_is_never_taken_for_the_end():
    ids, slots = encode_spliced(ClipLike.from_words(["a"]), "*TOK* a", 6)
    np.testing.assert_array_equal(ids, [2, 0, 3, 1, 1, 1])
    np.testing.assert_array_equal(slots, [-1, 0, -1, -1, -1, -1])
