"""`storyjax ask` by a BLIP-2 as the hub has it: the tokens and probabilities of transformers, from `models get` on."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tiny_tcr
import torch
import transformers

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.nn.image_normalisation import CLIP_MEAN, CLIP_STD
from storyjax.tcr import blip2
from storyjax.tcr.blip2 import Blip2Predictor, is_blip2, load_blip2

sys.path.insert(0, str(Path(__file__).parents[1] / "rehearsal"))

import published_files

QUESTION = "what did ana do ?"
END = 1  # the end token of T5
OPTIONS = ("sang", "jumped over the box", "read the book")


@pytest.fixture(scope="module")
def model() -> transformers.Blip2ForConditionalGeneration:
    torch.manual_seed(0)
    return published_files.scatter(published_files.small_blip2())


@pytest.fixture(scope="module")
def hub(model: transformers.PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a repository, as it is downloaded."""
    path = tmp_path_factory.mktemp("hub")
    model.config.save_pretrained(path)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, path / "model.safetensors", {"format": "pt"})
    published_files.tokenizer([QUESTION, *OPTIONS]).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tcr.write_film(tmp_path_factory.mktemp("video") / "a.mp4")


@pytest.fixture(scope="module")
def predictor(hub: Path) -> Blip2Predictor:
    return load_blip2(hub)


def embedded(
    model: transformers.Blip2ForConditionalGeneration, video: Path, prompt: list[int], times: np.ndarray
) -> torch.Tensor:
    """What transformers' parts make of frames and a prompt for the language model, the frames one after another."""
    size = model.config.vision_config.image_size
    frames, _ = decode_frames(video, times, size)
    pixels = (frames.astype(np.float32) / 255 - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    with torch.no_grad():
        tokens = model.vision_model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).last_hidden_state
        queries = model.qformer(
            query_embeds=model.query_tokens, encoder_hidden_states=tokens.reshape(1, -1, tokens.shape[-1])
        ).last_hidden_state
        words = model.language_model.get_input_embeddings()(torch.tensor([prompt]))
        return torch.cat([model.language_projection(queries), words], dim=1)


def test_free_answers_are_those_of_transformers(
    model: transformers.Blip2ForConditionalGeneration, predictor: Blip2Predictor, video: Path
) -> None:
    answer = predictor.ask(video, QUESTION)
    assert answer.method == "BLIP-2, no TCR"
    times = sample_times(probe(video).duration_s, 8)
    prompt = [*predictor.tokenizer.encode(f"Question: {QUESTION} Short answer:"), END]
    inputs = embedded(model, video, prompt, times)
    with torch.no_grad():
        ids = model.language_model.generate(inputs_embeds=inputs, max_new_tokens=24, do_sample=False, num_beams=1)
    ids = [int(index) for index in ids[0] if int(index) != 0]
    assert answer.text == predictor.spell(np.array(ids))
    assert len(ids) > 3


def test_options_are_scored_as_transformers_scores_them(
    model: transformers.Blip2ForConditionalGeneration, predictor: Blip2Predictor, video: Path
) -> None:
    """Of two clips, the mean of the probabilities of each."""
    answer = predictor.ask(video, QUESTION, OPTIONS, frames=16)
    times = sample_times(probe(video).duration_s, 16)
    listed = " ".join(f"Option {letter}: {option}." for letter, option in zip("ABC", OPTIONS, strict=True))
    prompt = f"{QUESTION} {listed} Considering information in frames, select the correct answer."
    clips = []
    for clip in (times[:8], times[8:]):
        inputs = embedded(model, video, [*predictor.tokenizer.encode(prompt), END], clip)
        scores = []
        for letter in "ABC":
            labels = torch.tensor([[*predictor.tokenizer.encode(f"Option {letter}"), END]])
            with torch.no_grad():
                logits = model.language_model(inputs_embeds=inputs, labels=labels).logits
            likelihood = torch.log_softmax(logits[0].float(), -1)[range(labels.shape[1]), labels[0]]
            scores.append(likelihood.sum())
        clips.append(torch.softmax(torch.stack(scores), 0).numpy())
    np.testing.assert_allclose(answer.probabilities, np.mean(clips, axis=0), atol=1e-5)
    assert np.abs(clips[0] - clips[1]).max() > 1e-4  # the clips differ, so that their mean is put to the test


def test_the_command_from_models_get_to_the_answer(
    hub: Path, video: Path, predictor: Blip2Predictor, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("STORYJAX_MODELS", str(tmp_path / "models"))
    assert run(["models", "get", "ask", "--from", str(hub)]) == 0
    capsys.readouterr()
    assert run(["ask", str(video), QUESTION, "--json"]) == 0
    said = capsys.readouterr()
    assert "BLIP-2, no TCR" in said.err
    assert "StoryWorld" not in said.err
    found = json.loads(said.out)
    assert found["method"] == "BLIP-2, no TCR"
    assert found["text"] == predictor.ask(video, QUESTION).text
    assert found["checkpoint"] == str(tmp_path / "models" / "ask")
    assert run(["ask", str(video), QUESTION, "--checkpoint", str(hub), "--options", *OPTIONS]) == 0
    assert "answer: " in capsys.readouterr().out
    assert run(["ask", str(video), QUESTION, "--models", "off"]) == 0
    assert "StoryWorld" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([QUESTION, "--frames", "9"], "from 8 frames at most"),
        ([QUESTION, "--frames", "12", "--options", *OPTIONS], "give 8 or 16"),
        (["--when", "ana sang"], "a BLIP-2, which answers questions alone"),
        (["--caption", "0-1"], "a BLIP-2, which answers questions alone"),
    ],
)
def test_what_it_cannot_be_asked_is_one_line(
    hub: Path, video: Path, predictor: Blip2Predictor, monkeypatch, capsys, asked: list[str], message: str
) -> None:
    monkeypatch.setattr(blip2, "load_blip2", lambda place: predictor)
    assert run(["ask", str(video), *asked, "--checkpoint", str(hub)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("storyjax: error: ")
    assert message in error


def test_what_is_no_blip2_or_not_whole(hub: Path, tmp_path: Path) -> None:
    assert is_blip2(hub)
    assert not is_blip2(tmp_path)
    assert not is_blip2("shipped:tcr_nextqa_storyworld")
    (tmp_path / "config.json").write_text((hub / "config.json").read_text())
    with pytest.raises(StoryjaxError, match=r"model.safetensors is not there"):
        load_blip2(tmp_path)
    tensors = safetensors.torch.load_file(hub / "model.safetensors")
    tensors.pop("language_projection.weight")
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(StoryjaxError, match=r"1 missing: language_projection.weight"):
        load_blip2(tmp_path)
