"""`storyjax import`: what others saved is what our modules compute; what is not whole is refused in one line."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from storyjax.cli.main import run
from storyjax.core.config import from_config
from storyjax.core.params_io import load_flat, load_metadata, unflatten
from storyjax.data.text import HubTokenizer
from storyjax.models.clip import Clip, ClipConfig
from storyjax.models.qformer import QFormer
from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.weights.registry import Blip2Config


def imported(folder: Path) -> tuple[dict, dict]:
    """What an imported folder describes, and its parameters."""
    return json.loads((folder / "config.json").read_text()), unflatten(load_flat(folder / "model.safetensors"))


def blip2_logits(config: dict, params: dict, images: np.ndarray, words: np.ndarray, answer: np.ndarray) -> np.ndarray:
    sizes = from_config(Blip2Config, config)

    @jax.jit
    def run(params: dict, images: jax.Array, words: jax.Array, answer: jax.Array) -> jax.Array:
        llm, variables = T5(sizes.llm), {"params": params["llm"]}
        tokens = ViT(sizes.vision).apply({"params": params["vision"]}, images)
        seen = QFormer(sizes.qformer).apply({"params": params["qformer"]}, tokens)
        inputs = jnp.concatenate([seen, llm.apply(variables, words, method=T5.embed)], axis=1)
        mask = jnp.ones(inputs.shape[:2], bool)
        encoded = llm.apply(variables, inputs, mask, method=T5.encode)
        return llm.apply(variables, answer, encoded, mask, method=T5.decode)

    return np.asarray(run(params, images, words, answer))


def test_a_sharded_blip2_gives_the_same_answers(tiny_blip2, save, tmp_path: Path, capsys) -> None:
    source = save(tmp_path / "hub", tiny_blip2, max_shard_size="10KB")
    assert len(list(source.glob("model-*-of-*.safetensors"))) > 3
    out = tmp_path / "ours"
    assert run(["import", "blip2", "--from", str(source), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "transformers layout" in printed.out
    assert "note" not in printed.err
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 14, 14, 3)).astype(np.float32)
    words, answer = rng.integers(2, 90, (2, 5)), rng.integers(2, 90, (2, 3))
    with torch.no_grad():
        theirs = tiny_blip2(
            pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)),
            input_ids=torch.tensor(np.concatenate([np.full((2, 3), 95), words], axis=1)),
            attention_mask=torch.ones(2, 8, dtype=torch.long),
            decoder_input_ids=torch.tensor(answer),
        ).logits.numpy()
    ours = blip2_logits(*imported(out), images, words, answer)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert HubTokenizer(out).encode("who danced ?") == [3, 4, 5]
    assert load_metadata(out / "model.safetensors")["model"] == "blip2"
    decoding = "generation_config.json"
    assert (out / decoding).read_bytes() == (source / decoding).read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_lavis_and_its_parts_are_the_same_model(tiny_blip2, lavis_state, save, tmp_path: Path) -> None:
    source = save(tmp_path / "hub", tiny_blip2)
    assert run(["import", "blip2", "--from", str(source), "--out", str(tmp_path / "hub_ours")]) == 0
    state = lavis_state(tiny_blip2)
    state["Qformer.bert.embeddings.position_ids"] = torch.arange(5)
    whole = tmp_path / "whole.pth"
    torch.save({"model": state, "epoch": 3}, whole)
    # Each part in a file of its own, under its own names; EVA's with a block that BLIP-2 does without.
    eva = {name.removeprefix("visual_encoder."): state[name] for name in state if name.startswith("visual_encoder.")}
    eva |= {"blocks.2.norm1.weight": torch.ones(16), "head.weight": torch.ones(2, 16)}
    torch.save(eva, tmp_path / "eva.pth")
    llm = {name.removeprefix("t5_model."): state[name] for name in state if name.startswith("t5_model.")}
    torch.save(llm, tmp_path / "llm.pth")
    rest = {name: state[name] for name in state if not name.startswith(("visual_encoder.", "t5_model."))}
    torch.save(rest, tmp_path / "former.pth")
    config, params = imported(tmp_path / "hub_ours")
    parts = [str(tmp_path / name) for name in ("former.pth", "eva.pth", "llm.pth", "hub/config.json")]
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    for name, places in (("whole_ours", [str(whole)]), ("parts_ours", parts[:3])):
        out = tmp_path / name
        assert run(["import", "blip2", "--from", *places, "--out", str(out)]) == 0
        ours_config, ours = imported(out)
        assert ours_config == config
        jax.tree.map(np.testing.assert_array_equal, ours, params)
    out = tmp_path / "tower"
    shapes = ["import", "blip2-vit-g-14", "--from", str(whole), "--out", str(out)]
    assert run(shapes) == 2  # the tiny tower is no ViT-g, and config.json says so


def test_both_layouts_of_clip(tiny_clip, openai_state, save, tmp_path: Path) -> None:
    source = save(tmp_path / "hub", tiny_clip)
    torch.save(openai_state(tiny_clip), source / "ViT.pt")
    save_file({f"module.{k}": v.clone() for k, v in openai_state(tiny_clip).items()}, source / "open_clip.safetensors")
    trees = []
    # OpenCLIP's repositories hold several copies; `model.safetensors` is the one that a folder stands for.
    for place in (source, source / "ViT.pt"):
        out = tmp_path / f"ours_{len(trees)}"
        assert run(["import", "clip", "--from", str(place), "--out", str(out), "--dtype", "float32"]) == 0
        config, params = imported(out)
        trees.append(params)
    jax.tree.map(np.testing.assert_array_equal, *trees)
    images = np.random.default_rng(0).normal(size=(2, 14, 14, 3)).astype(np.float32)
    ids = np.array([[38, 5, 6, 39], [38, 7, 39, 39]])
    with torch.no_grad():
        theirs = tiny_clip(pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)), input_ids=torch.tensor(ids))
    clip = Clip(from_config(ClipConfig, config))
    ours = jax.jit(clip.apply)({"params": params}, images, ids)
    np.testing.assert_allclose(ours, theirs.logits_per_image.numpy(), atol=1e-4)


def test_numbers_are_written_in_the_type_that_is_asked_for(tiny_t5, save, tmp_path: Path) -> None:
    source = save(tmp_path / "hub", tiny_t5)
    for dtype in ("float32", "bfloat16"):
        assert run(["import", "t5", "--from", str(source), "--out", str(tmp_path / dtype), "--dtype", dtype]) == 0
    exact, half = (load_flat(tmp_path / dtype / "model.safetensors") for dtype in ("float32", "bfloat16"))
    sizes = [(tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("float32", "bfloat16")]
    assert 1.6 < sizes[0] / sizes[1] < 2
    for path, array in exact.items():
        np.testing.assert_array_equal(half[path], array.astype(jnp.bfloat16).astype(np.float32))
    # Without torch's help: the file is one that the safetensors package reads too.
    assert set(load_file(tmp_path / "bfloat16" / "model.safetensors")) == set(exact)


class Harmful:
    def __reduce__(self) -> tuple:
        return (print, ("a pickle that ran",))


def damage(source: Path, how: str) -> None:
    """Makes the checkpoint in `source` (sharded T5) one that cannot be imported."""
    index = source / "model.safetensors.index.json"
    shard = sorted(source.glob("model-0*.safetensors"))[1]
    state = load_file(shard)
    norm = next(name for name in state if name.endswith("layer_norm.weight"))
    if how == "a missing shard":
        shard.unlink()
    elif how == "a truncated shard":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif how == "a truncated header":
        shard.write_bytes(shard.read_bytes()[:40])
    elif how == "a wrong type":
        save_file(state | {norm: state[norm].to(torch.int8)}, shard)
    elif how == "another shape":
        save_file(state | {norm: state[norm][:7].clone()}, shard)
    elif how == "one key more":
        save_file(state | {"encoder.block.7.more": torch.ones(2)}, shard)
    elif how == "one key less":
        where = json.loads(index.read_text())
        del where["weight_map"][norm], state[norm]
        index.write_text(json.dumps(where))
        save_file(state, shard)
    elif how == "a shard that lacks what the index says":
        del state[norm]
        save_file(state, shard)
    elif how == "a broken index":
        index.write_text("{")
    elif how == "a broken tokenizer":
        (source / "tokenizer.json").write_text("{}")
    elif how == "another architecture":
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    elif how == "repeated, but not the same":
        more = {"decoder.embed_tokens.weight": torch.ones(96, 24)}
        save_file(state | more, shard)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a missing shard", "is missing: model.safetensors.index.json says that"),
        ("a truncated shard", "is cut short: it has"),
        ("a truncated header", "is cut short: it ends within its header"),
        ("a wrong type", "1 mistyped: "),
        ("another shape", "layer_norm.weight (7,) for (24,)"),
        ("one key more", "1 unused: encoder.block.7.more"),
        ("one key less", "1 missing: "),
        ("a shard that lacks what the index says", "which model.safetensors.index.json says is in it"),
        ("a broken index", "is not an index of shards"),
        ("a broken tokenizer", "does not load"),
        ("another architecture", "describes a model of the type 'bert', not 't5'"),
        ("repeated, but not the same", "decoder.embed_tokens.weight (it should equal shared.weight)"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_nothing_is_written(
    how: str, message: str, tiny_t5, save, tmp_path: Path, capsys
) -> None:
    source = save(tmp_path / "hub", tiny_t5, max_shard_size="12KB")
    damage(source, how)
    refused(["import", "t5", "--from", str(source), "--out", str(tmp_path / "ours")], message, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def refused(arguments: list[str], message: str, capsys) -> None:
    capsys.readouterr()
    assert run(arguments) == 2
    printed = capsys.readouterr()
    line = printed.err.split("\r")[-1] if "\r" in printed.err else printed.err
    assert printed.out == ""
    assert line.startswith("storyjax: error: ")
    assert line.count("\n") == 1
    assert message in line


def test_pickles_are_refused_and_never_run(tiny_t5, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "ours")
    bad = tmp_path / "bad.pth"
    arguments = ["import", "flan-t5-small", "--from", str(bad), "--out", out]
    torch.save({"model": Harmful()}, bad)
    refused(arguments, "is refused: it is a pickle of more than a plain state dict", capsys)
    bad.write_bytes(pickle.dumps(Harmful()))
    refused(arguments, "is refused", capsys)
    torch.save(tiny_t5, bad)
    refused(arguments, "is refused", capsys)
    torch.save({"shared.weight": [1, 2]}, bad)
    refused(arguments, "is refused: it is not a plain state dict, 'shared.weight' is a list", capsys)
    torch.save({"shared.weight": torch.ones(3)}, bad)
    bad.write_bytes(bad.read_bytes()[:300])
    refused(arguments, "it is cut short or no PyTorch file", capsys)
    assert not Path(out).exists()


def test_without_torch_a_pytorch_file_says_what_to_install(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "model.pth").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "torch", None)
    arguments = ["import", "flan-t5-small", "--from", str(tmp_path / "model.pth"), "--out", str(tmp_path / "ours")]
    refused(arguments, "pip install 'storyjax[torch]'", capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flan-t5-xk", "--from", "hub"], "Did you mean 'flan-t5-xl'?"),
        (["flan-t5-xl"], "say what, from where and where to"),
        (["flan-t5-xl", "--from", "none"], "no checkpoint at none"),
        (["flan-t5-xl", "--from", "nobody/none"], "it cannot be downloaded from the Hugging Face hub"),
        (["flan-t5-xl", "--from", "empty"], "no weights in empty"),
        (["flan-t5-xl", "--from", "hub"], "is not that of flan-t5-xl: llm.vocab_size is 96"),
        (["clip", "--from", "hub"], "they have 'decoder.block"),
        (["t5", "--from", "hub", "--dtype", "int8"], "--dtype: unknown 'int8'"),
        (["t5", "--from", "hub", "--out", "hub"], "--out hub is there already"),
        (["t5", "--from", "hub", "--out", "hub/config.json/x"], "cannot write"),
        (["t5", "--from", "hub", "hub"], "give each part of the model once"),
        (["t5", "--from", "alone"], "has no config.json that says how large its t5 is"),
        (["t5", "--from", "two"], "has 2 .safetensors files"),
        (["t5", "--from", "hub/config.json"], "is no checkpoint that storyjax reads"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line(arguments: list[str], message: str, tiny_t5, save, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "hub", tiny_t5)
    (tmp_path / "empty").mkdir()
    for folder, names in (("alone", ["model"]), ("two", ["a", "b"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.safetensors").symlink_to(tmp_path / "hub" / "model.safetensors")
    out = [] if "--out" in arguments or len(arguments) == 1 else ["--out", "ours"]
    refused(["import", *arguments, *out], message, capsys)
    assert not (tmp_path / "ours").exists()


def test_a_tokenizer_that_needs_another_package_is_a_note(tiny_t5, save, tmp_path: Path, monkeypatch, capsys) -> None:
    import transformers

    def needs(*_args: object, **_options: object) -> None:
        raise ImportError("T5Tokenizer requires the SentencePiece library")

    source = save(tmp_path / "hub", tiny_t5)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", needs)
    assert run(["import", "t5", "--from", str(source), "--out", str(tmp_path / "ours")]) == 0
    assert "its tokenizer could not be tried: T5Tokenizer requires" in capsys.readouterr().err
    assert (tmp_path / "ours" / "tokenizer.json").exists()


def test_lists_all_names(capsys) -> None:
    assert run(["import", "--list"]) == 0
    listed = capsys.readouterr().out
    for name in ("blip2-flan-t5-xl ", "flan-t5-small ", "clip-vit-h-14 ", "siglip-so400m-14 ", "t5-11b "):
        assert f"\n{name}" in f"\n{listed}"


MEMORY = """
import json, re, sys
from pathlib import Path
from storyjax.weights import import_weights, registry
from storyjax.models.t5 import T5Config

def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

source, out, sizes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
config = registry.LanguageModelConfig(T5Config(**sizes))
registry.PUBLISHED["t5-here"] = registry.Published(registry.T5_FAMILY, config)
registry.T5_FAMILY.shapes(config)  # what tracing takes once is not what an import holds
held = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
import_weights.import_model("t5-here", [str(source)], out, progress=False)
print(status("VmHWM") - held)
"""


def test_no_more_than_an_array_or_two_is_held(tmp_path: Path) -> None:
    """A checkpoint of 150 MB in shards of at most 60 MB: at its peak an import holds less than 1.3 of them (and in fact
    about twice the largest array, of 4 MB)."""
    from storyjax.weights.registry import T5_FAMILY, LanguageModelConfig
    from storyjax.weights.rules import _planned, t5_rules
    from storyjax.weights.tensor_files import write_tensors

    sizes = {"vocab_size": 2048, "d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 4, "num_decoder_layers": 4}
    from storyjax.models.t5 import T5Config

    config = T5Config(**sizes)
    shapes = {path: leaf.shape for path, leaf in T5_FAMILY.shapes(LanguageModelConfig(config)).items()}
    source = {}
    for step in _planned(t5_rules(config).placed("", "llm/"), shapes):
        blanks = [np.broadcast_to(np.float32(0), shapes[path]) for path in step.paths]
        source[step.source] = (step.layout.theirs(*blanks).shape, np.dtype(np.float32))
    names, shards, size = list(source), [[]], 0
    for name in names:
        nbytes = 4 * int(np.prod(source[name][0]))
        if size + nbytes > 60_000_000:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += nbytes
    folder = tmp_path / "hub"
    folder.mkdir()
    places = {}
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        places |= dict.fromkeys(shard, file)
        layout = {name: source[name] for name in shard}
        write_tensors(folder / file, layout, ((name, np.ones(*source[name])) for name in shard))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    whole = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    largest = max(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert len(shards) > 2
    printed = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder), str(tmp_path / "ours"), json.dumps(sizes)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(printed.stdout)
    assert peak < 1.3 * largest
    assert peak < 0.4 * whole
    assert (tmp_path / "ours" / "model.safetensors").stat().st_size == pytest.approx(whole, rel=0.01)
