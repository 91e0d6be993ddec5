"""`storyjax ask` by a BLIP-2 as the hub has it: the tokens and probabilities of transformers, from `models get` on."""

import gc
import json
import sys
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.torch
import tiny_tcr
import torch
import transformers

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.core.memory import available_memory
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.models.t5 import T5, T5Config
from storyjax.models.t5_decoding import Decoding, generate
from storyjax.nn.image_normalisation import CLIP_MEAN, CLIP_STD
from storyjax.tcr import blip2, model_parts
from storyjax.tcr.blip2 import PARTS, Blip2Predictor, is_blip2, load_blip2, read_decoding
from storyjax.tcr.model_parts import ModelParts

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


def pixels_of(model: transformers.Blip2ForConditionalGeneration, video: Path, times: np.ndarray) -> torch.Tensor:
    frames, _ = decode_frames(video, times, model.config.vision_config.image_size)
    pixels = (frames.astype(np.float32) / 255 - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def embedded(
    model: transformers.Blip2ForConditionalGeneration, video: Path, prompt: list[int], times: np.ndarray
) -> torch.Tensor:
    """What transformers' parts make of frames and a prompt for the language model, the frames one after another."""
    with torch.no_grad():
        tokens = model.vision_model(pixels_of(model, video, times)).last_hidden_state
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


def test_beams_and_captions_are_those_of_the_whole_published_model(
    model: transformers.Blip2ForConditionalGeneration, predictor: Blip2Predictor, video: Path, monkeypatch
) -> None:
    """Of one frame, as Blip2ForConditionalGeneration takes it, from pixels to tokens."""
    monkeypatch.setattr(predictor, "decoding", Decoding(3, -1.0))
    queries = [model.config.image_token_index] * model.config.num_query_tokens
    for segment, prompt, answer in (
        (
            (0.0, probe(video).duration_s),
            f"Question: {QUESTION} Short answer:",
            predictor.ask(video, QUESTION, None, 1),
        ),
        ((1.0, 2.0), "a photo of", predictor.caption(video, (1.0, 2.0), 1)),
    ):
        start, end = segment
        words = torch.tensor([[*queries, *predictor.tokenizer.encode(prompt), END]])
        pixels = pixels_of(model, video, np.array([(start + end) / 2]))
        with torch.no_grad():
            ids = model.generate(
                pixels, words, max_new_tokens=24, do_sample=False, num_beams=3, length_penalty=-1.0, use_cache=False
            )
        assert answer.text == predictor.spell(np.array([int(index) for index in ids[0] if int(index) != 0]))
    assert answer.segment == (1.0, 2.0)
    assert answer.in_words().splitlines()[-1].startswith("looked: about evenly at 1.0 s to 2.0 s of")
    assert len(answer.thumbnails()) == 1


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
    # What was compiled already answers from here on.
    monkeypatch.setattr(blip2, "load_blip2", lambda place, **flags: predictor)
    monkeypatch.setattr(predictor, "decoding", predictor.decoding)  # which --beams changes
    assert run(["ask", str(video), QUESTION, "--checkpoint", str(hub), "--options", *OPTIONS]) == 0
    assert "answer: " in capsys.readouterr().out
    assert run(["ask", str(video), QUESTION, "--models", "off"]) == 0
    assert "StoryWorld" in capsys.readouterr().err
    (tmp_path / "questions.txt").write_text(f"{QUESTION}\n\nwho sang ?\n", encoding="utf-8")
    asked = ["ask", str(video), "who danced ?", "--questions", str(tmp_path / "questions.txt"), "--beams", "1"]
    assert run([*asked, "--json"]) == 0
    several = json.loads(capsys.readouterr().out)
    assert [one["question"] for one in several] == ["who danced ?", QUESTION, "who sang ?"]
    assert run(["ask", str(video), "--caption", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["question"] == "what is to be seen"


def test_several_questions_are_answered_as_each_alone(predictor: Blip2Predictor, video: Path, monkeypatch) -> None:
    read = []
    monkeypatch.setattr(
        ModelParts, "read", lambda parts, name, own=ModelParts.read: read.append(name) or own(parts, name)
    )
    others = predictor.ask_all(video, ["who danced ?", QUESTION], OPTIONS)
    assert read == ["vision tower", "Q-Former", "language encoder", "language decoder"]  # each once
    assert others == [predictor.ask(video, question, OPTIONS) for question in ("who danced ?", QUESTION)]
    assert others[0].probabilities != others[1].probabilities


def test_parts_are_in_memory_one_at_a_time(predictor: Blip2Predictor, video: Path, monkeypatch) -> None:
    here, most = [], []

    def read(parts: ModelParts, name: str, own=ModelParts.read) -> dict:
        params = own(parts, name)
        here.append(weakref.ref(jax.tree.leaves(params)[0]))
        gc.collect()
        most.append(sum(ref() is not None for ref in here))
        return params

    monkeypatch.setattr(ModelParts, "read", read)
    predictor.ask(video, QUESTION)
    assert max(most) == 1
    assert len(most) == 4
    for name in PARTS:  # and of the type that the policy says
        assert predictor.parts.nbytes(name) == sum(leaf.nbytes for leaf in jax.tree.leaves(predictor.parts.read(name)))


def test_weights_are_not_all_float32_at_a_time() -> None:
    """XLA computes bfloat16 in float32 on processors: no more than a fraction of the weights is there in it."""
    if jax.default_backend() != "cpu":
        pytest.skip("a matter of processors")
    llm = T5(
        T5Config(vocab_size=64, d_model=256, d_ff=1024, num_heads=4, num_layers=1, num_decoder_layers=3),
        dtype="bfloat16",
    )
    ids = jax.ShapeDtypeStruct((1, 4), "int32")
    shapes = jax.eval_shape(llm.init, jax.random.key(0), ids, jax.ShapeDtypeStruct((1, 4), bool), ids)["params"]
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "bfloat16"), shapes)
    encoded, mask = jax.ShapeDtypeStruct((1, 4, 256), "bfloat16"), jax.ShapeDtypeStruct((1, 4), bool)
    say = jax.jit(lambda *inputs: generate(llm, *inputs, 3), compiler_options=model_parts.frugal_options())
    sizes = say.lower(params, encoded, mask).compile().memory_analysis()
    assert sizes.temp_size_in_bytes < sizes.argument_size_in_bytes / 2


def test_what_does_not_fit_the_memory_is_refused(hub: Path, video: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(model_parts, "available_memory", lambda: 1_000_000_000)
    assert run(["ask", str(video), QUESTION, "--checkpoint", str(hub)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "needs 1.5 GB of memory" in error
    assert "1.0 GB are free" in error
    assert "--ignore-memory" in error
    assert load_blip2(hub, ignore_memory=True).source == str(hub)
    monkeypatch.setattr(model_parts, "available_memory", lambda: None)
    assert load_blip2(hub, keep=True).parts.keep


def test_published_decoding(hub: Path, tmp_path: Path) -> None:
    assert read_decoding(hub) == Decoding()
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"num_beams": 5, "length_penalty": -1}))
    assert read_decoding(tmp_path) == Decoding(5, -1.0)
    path.write_text("[]")
    with pytest.raises(StoryjaxError, match=r"generation_config\.json cannot be read"):
        read_decoding(tmp_path)


def test_available_memory_is_that_of_the_machine() -> None:
    free = available_memory()
    assert free is None or 1e7 < free < 1e14


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([QUESTION, "--frames", "9"], "--frames 9: only choices"),
        ([QUESTION, "--frames", "12", "--options", *OPTIONS], "such as frames=8 or 16"),
        (["--when", "ana sang"], "a BLIP-2, which answers questions and captions, not --when"),
        (["--anticipate"], "a BLIP-2, which answers questions and captions, not --anticipate"),
        (["--count"], "which is not a TCR"),
        (["--caption", "0-100"], "past its end"),
        ([QUESTION, "--beams", "0"], "--beams 0: give 1"),
        ([QUESTION, "--beams", "2", "--options", *OPTIONS], "--beams is for answers in free words, not for --options"),
        (["--questions", "none.txt"], "--questions none.txt cannot be read"),
        ([QUESTION, "who ?", "--figure", "a.png"], "--figure is of one question, not of 2"),
    ],
)
def test_what_it_cannot_be_asked_is_one_line(
    hub: Path, video: Path, predictor: Blip2Predictor, monkeypatch, capsys, asked: list[str], message: str
) -> None:
    monkeypatch.setattr(blip2, "load_blip2", lambda place, **flags: predictor)
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
