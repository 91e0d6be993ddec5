"""`storyjax find --clip`: a published CLIP, as the hub has it, ranks as `transformers` does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from colours import BLUE, GREEN, RED, video
from hub_clip import PROMPTS, SIDE
from PIL import Image

from storyjax.cli.main import run
from storyjax.search.clip_encoder import ClipEncoder


def unit(tensor: torch.Tensor | transformers.modeling_outputs.BaseModelOutputWithPooling) -> np.ndarray:
    array = getattr(tensor, "pooler_output", tensor).detach().numpy()
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def test_images_and_sentences_are_embedded_as_transformers_does(hub_clip: Path) -> None:
    encoder = ClipEncoder.from_pretrained(hub_clip)
    model = transformers.CLIPModel.from_pretrained(hub_clip).eval()
    images = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE, 3), np.uint8)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE)
    pixels = processor(list(images), return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(encoder.embed_images(images), unit(model.get_image_features(pixels)), atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(hub_clip)
    for prompt in PROMPTS:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"], tokenizer.eos_token_id]])
        expected = unit(model.get_text_features(ids))[0]
        np.testing.assert_allclose(encoder.embed_query(prompt, {}), expected, atol=1e-4)


def test_the_command_indexes_and_finds_by_plain_words(
    hub_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    video(tmp_path / "media" / "three.mp4", [RED, GREEN, BLUE])
    broad = np.full((40, 120, 3), RED, np.uint8)
    broad[:, :40] = BLUE  # outside the square in the middle
    Image.fromarray(broad).save(tmp_path / "media" / "broad.png")
    Image.fromarray(broad[:, 40:80]).save(tmp_path / "media" / "middle.png")
    clip = ["--clip", str(hub_clip)]
    assert run(["find", "index", "media", "--out", "index", *clip]) == 0
    capsys.readouterr()
    assert run(["find", PROMPTS[0], "--index", "index", "--json", *clip]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert len(hits) == 5
    scores = {Path(hit["file"]).name: hit["score"] for hit in hits}
    encoder = ClipEncoder.from_pretrained(hub_clip)
    squashed = np.asarray(Image.fromarray(broad).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    of_squashed = float(encoder.embed_images(squashed[None])[0] @ encoder.embed_query(PROMPTS[0], {}))
    # The filter looks a little over the edge of the square.
    assert abs(scores["broad.png"] - scores["middle.png"]) < 0.005 < 0.2 * abs(scores["broad.png"] - of_squashed)
    colours = {colour: np.full((1, SIDE, SIDE, 3), colour, np.uint8) for colour in (RED, GREEN, BLUE)}
    query = encoder.embed_query(PROMPTS[0], {})
    expected = {colour: float(encoder.embed_images(image)[0] @ query) for colour, image in colours.items()}
    of_video = {hit["start_s"]: hit["score"] for hit in hits if hit["start_s"] is not None}
    for start, colour in ((0.0, RED), (2.0, GREEN), (4.0, BLUE)):
        assert of_video[start] == pytest.approx(expected[colour], abs=0.02)  # the video is compressed
    # Another model's index, names, both models, no folder.
    for arguments, said in (
        ([PROMPTS[0], "--index", "index"], "made by another model"),
        (["a <dog>", "--index", "index", *clip], "nobody is enrolled in runs/gallery, so 'dog' is unknown"),
        (["a <dog>", "--index", "index", "--face", "media/broad.png", *clip], "'storyjax models get faces --from"),
        (["x", "--index", "index", "--checkpoint", "runs/a", *clip], "leave --checkpoint out"),
        (["x", "--index", "index", "--clip", "media"], "has no config.json"),
        (["so " * 30, "--index", "index", *clip], "shorten it"),
    ):
        assert run(["find", *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert said in lines[-1], lines
