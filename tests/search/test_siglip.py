"""`storyjax find` by a published SigLIP, as the hub has it: embeddings are those of `transformers`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hub_clip import PROMPTS, SIDE
from PIL import Image

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.data.text import HubTokenizer

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def hub_siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random SigLIP with its tokenizer."""
    folder = tmp_path_factory.mktemp("hub") / "siglip"
    text = folder.with_name("text.txt")
    text.write_text("\n".join(PROMPTS * 5))
    sentencepiece.SentencePieceTrainer.train(
        **{"input": str(text), "model_prefix": str(text.with_name("spiece")), "vocab_size": 40},
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "hard_vocab_limit": False, "minloglevel": 2},
    )
    tokenizer = transformers.SiglipTokenizer(str(text.with_name("spiece.model")), model_max_length=20)
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": 20, "pad_token_id": 1, "projection_size": 16}
    config = transformers.SiglipConfig(
        text_config={**tower, **words, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**tower, "image_size": SIDE, "patch_size": 8},
    )
    torch.manual_seed(0)
    model = transformers.SiglipModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def unit(found: object) -> np.ndarray:
    array = getattr(found, "pooler_output", found).detach().numpy()
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def test_find_ranks_by_it_as_transformers_embeds(
    hub_siglip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORYJAX_MODELS", str(tmp_path / "models"))
    rng = np.random.default_rng(0)
    images = {f"{number}.png": rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8) for number in range(2)}
    broad = rng.integers(0, 255, (20, 50, 3), np.uint8)
    (tmp_path / "media").mkdir()
    for name, image in {**images, "broad.png": broad}.items():
        Image.fromarray(image).save(tmp_path / "media" / name)
    # SigLIP squashes what is no square.
    images["broad.png"] = np.asarray(Image.fromarray(broad).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    assert run(["models", "get", "find", "--from", str(hub_siglip)]) == 0
    assert run(["find", "index", "media", "--out", "index"]) == 0
    model = transformers.SiglipModel.from_pretrained(hub_siglip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(hub_siglip)
    pixels = torch.from_numpy(np.stack(list(images.values())).transpose(0, 3, 1, 2)).float() / 127.5 - 1
    embedded = unit(model.get_image_features(pixels))
    for prompt in ("A red room!", "a blue beach"):
        ids = tokenizer(prompt, padding="max_length", max_length=20, return_tensors="pt")["input_ids"]
        expected = embedded @ unit(model.get_text_features(ids))[0]
        capsys.readouterr()
        assert run(["find", prompt, "--index", "index", "--json"]) == 0
        hits = {Path(hit["file"]).name: hit["score"] for hit in json.loads(capsys.readouterr().out)["hits"]}
        assert [hits[name] for name in images] == pytest.approx(expected.tolist(), abs=1e-4)
    # Without the package that its tokenizer needs.
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: missing())
    with pytest.raises(StoryjaxError, match=r"needs sentencepiece: pip install 'storyjax\[siglip\]'"):
        HubTokenizer(hub_siglip).encode("a red room")


def missing() -> None:
    import sentencepiece  # noqa: F401
