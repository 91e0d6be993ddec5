"""Frozen networks by reference: a published folder is as good as what `storyjax import` makes of it."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree, unflatten
from storyjax.data.text import HubTokenizer, WordTokenizer, encode_spliced
from storyjax.models.clip import Clip
from storyjax.models.ecapa import Ecapa, EcapaConfig
from storyjax.models.seresnet import SEResNet, SEResNetConfig
from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.weights.conversion import ConvertedTensor
from storyjax.weights.pretrained import KINDS, Pretrained
from storyjax.weights.rules import export_weights
from storyjax.weights.tables.audio import ecapa_rules
from storyjax.weights.tables.face import seresnet_rules
from storyjax.weights.tensor_files import StoredTensor

WORDS = ["<pad>", "</s>", "<unk>", "who", "danced", "?"]
FACE = SEResNetConfig(image_size=32, stem_width=4, widths=(4, 4), depths=(1, 2), expansion=2, reduction=2)


def import_to(out: Path, name: str, *places: Path) -> Path:
    assert run(["import", name, "--from", *map(str, places), "--out", str(out)]) == 0
    return out


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Whether two networks have the same parameters, to the last bit and in the same type."""
    assert set(one) == set(other)
    for path, tensor in one.items():
        assert (tuple(tensor.shape), tensor.dtype) == (tuple(other[path].shape), other[path].dtype)
        assert tensor.read().shape == tensor.shape
        np.testing.assert_array_equal(np.asarray(tensor), np.asarray(other[path]))


def agree(kind: str, published: Pretrained, ours: Path) -> dict[str, np.ndarray]:
    """The parameters of a published folder, which with the architecture are those of the imported one."""
    imported = Pretrained(str(ours))
    assert published.architecture(kind) == imported.architecture(kind)
    same(published.parameters(kind), imported.parameters(kind))
    return {path: np.asarray(tensor) for path, tensor in published.parameters(kind).items()}


def torch_file(folder: Path, name: str) -> None:
    """Keeps the weights of a folder as PyTorch's file instead of safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("files", ["one", "shards", "pytorch_model.bin"])
def test_a_language_model_as_published(files: str, tiny_t5, save, tmp_path: Path) -> None:
    hub = save(tmp_path / "hub", tiny_t5, max_shard_size="12KB" if files == "shards" else "5GB")
    ours = import_to(tmp_path / "ours", "t5", hub)
    if files.endswith(".bin"):
        torch_file(hub, files)
    assert len(list(hub.glob("model-*.safetensors"))) == 0 or files == "shards"
    params = agree("llm", Pretrained(str(hub)), ours)
    assert params["encoder/block_0/mlp/up/kernel"].shape == (24, 32)
    for folder in (hub, ours):
        tokenizer = Pretrained(str(folder)).tokenizer("llm")
        assert isinstance(tokenizer, HubTokenizer)
        assert (tokenizer.encode("who danced ?"), tokenizer.eos_id) == ([3, 4, 5], 1)


@pytest.mark.parametrize(("theirs", "ours"), [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), (None, "gelu_tanh")])
def test_the_folder_says_the_activation_not_the_preset(
    theirs: str | None, ours: str, tiny_t5, save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T5 1.1 computes the tanh GELU, which its config.json may override as BLIP-2's does; and ours are the same."""
    hub = save(tmp_path / "hub", tiny_t5)
    config = json.loads((hub / "config.json").read_text())
    config["dense_act_fn"] = theirs
    if theirs is None:
        del config["dense_act_fn"]
    (hub / "config.json").write_text(json.dumps(config))
    reference = transformers.T5ForConditionalGeneration.from_pretrained(hub).eval()
    other = {"gelu": "gelu_tanh", "gelu_tanh": "gelu"}[ours]
    preset = dataclasses.replace(Pretrained(str(hub)).architecture("llm"), gate_activation=other)
    monkeypatch.setitem(KINDS["llm"].presets, "tiny", preset)
    ids = np.random.default_rng(0).integers(2, 96, (2, 7))
    with torch.no_grad():
        wanted = reference(input_ids=torch.tensor(ids), decoder_input_ids=torch.tensor(ids[:, :3])).logits.numpy()
    for folder in (hub, import_to(tmp_path / "ours", "t5", hub)):
        named = Pretrained(str(folder), "tiny")
        assert named.architecture("llm").gate_activation == ours
        params = {"params": unflatten({path: np.asarray(one) for path, one in named.parameters("llm").items()})}
        run_with = {
            kind: T5(dataclasses.replace(named.architecture("llm"), gate_activation=kind)).apply(
                params, jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, bool), jnp.asarray(ids[:, :3], jnp.int32)
            )
            for kind in (ours, other)
        }
        np.testing.assert_allclose(run_with[ours], wanted, atol=1e-4)
        assert np.abs(run_with[other] - wanted).max() > 1e-3


def test_all_parts_of_a_sharded_blip2(tiny_blip2, save, tmp_path: Path) -> None:
    hub = save(tmp_path / "hub", tiny_blip2, max_shard_size="10KB")
    ours = import_to(tmp_path / "ours", "blip2", hub)
    params = {kind: agree(kind, Pretrained(str(hub)), ours) for kind in ("vision", "llm", "qformer")}
    images = np.random.default_rng(0).normal(size=(2, 14, 14, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = tiny_blip2.vision_model(torch.tensor(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    vision = ViT(Pretrained(str(hub)).architecture("vision"))
    np.testing.assert_allclose(
        jax.jit(vision.apply)({"params": unflatten(params["vision"])}, images), theirs, atol=1e-4
    )
    assert Pretrained(str(hub)).tokenizer("llm").encode("who danced ?") == [3, 4, 5]


def test_the_authors_own_layouts(tiny_blip2, tiny_clip, lavis_state, openai_state, save, tmp_path: Path) -> None:
    for model, name, state, kinds in (
        (tiny_blip2, "blip2", lavis_state, ("vision", "llm", "qformer")),
        (tiny_clip, "clip", openai_state, ("clip", "vision")),
    ):
        hub = save(tmp_path / name, model)
        ours = import_to(tmp_path / f"{name}_ours", name, hub)
        (hub / "model.safetensors").unlink()
        torch.save({"model": state(model), "epoch": 3}, hub / "weights.pth")
        for kind in kinds:
            agree(kind, Pretrained(str(hub)), ours)


def clip_tokenizer(folder: Path) -> None:
    """A tokenizer of CLIP's kind, whose start and end tokens are the last of its vocabulary."""
    vocabulary = {letter: index for index, letter in enumerate("abcdefgh")}
    vocabulary |= {f"{letter}</w>": len(vocabulary) + index for index, letter in enumerate("abcdefgh")}
    vocabulary |= {"<|startoftext|>": 38, "<|endoftext|>": 39}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], end_of_word_suffix="</w>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    ).save_pretrained(folder)


def test_a_clip_as_published_and_imported_reads_sentences(tiny_clip, tmp_path: Path) -> None:
    """Imported without a preset, it was given a word list's tokenizer: no end token, one embedding for all texts."""
    hub = tmp_path / "hub"
    tiny_clip.save_pretrained(hub)
    clip_tokenizer(hub)
    ours = import_to(tmp_path / "ours", "clip", hub)
    params = unflatten(agree("clip", Pretrained(str(hub)), ours))
    clip = Clip(Pretrained(str(hub)).architecture("clip"))
    for folder in (hub, ours):
        tokenizer = Pretrained(str(folder)).tokenizer("clip")
        ids = np.stack([encode_spliced(tokenizer, text, 8)[0] for text in ("a b", "b a", "c")])
        np.testing.assert_array_equal(ids[2], [38, 10, 39, 39, 39, 39, 39, 39])
        found = np.asarray(clip.apply({"params": params}, jnp.asarray(ids), method=Clip.embed_texts))
        with torch.no_grad():
            theirs = tiny_clip.get_text_features(torch.tensor(ids))
            theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
            theirs = (theirs / theirs.norm(dim=-1, keepdim=True)).numpy()
        np.testing.assert_allclose(found, theirs, atol=1e-4)
        assert np.abs(found[:, None] - found[None]).max(-1)[~np.eye(3, dtype=bool)].min() > 0.01


def test_the_image_encoders_of_clip_and_siglip(tiny_clip, save, tmp_path: Path) -> None:
    tower = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    siglip = transformers.SiglipModel(
        transformers.SiglipConfig(
            vision_config={**tower, "image_size": 14, "patch_size": 7},
            text_config={**tower, "vocab_size": 40, "max_position_embeddings": 8, "projection_size": 16},
        )
    )
    for name, model in (("clip", tiny_clip), ("siglip", siglip)):
        hub = save(tmp_path / name, model)
        ours = import_to(tmp_path / f"{name}_ours", name, hub)
        params = agree("vision", Pretrained(str(hub)), ours)
        assert "patch/kernel" in params
        vision = ViT(Pretrained(str(hub)).architecture("vision"))
        shapes = jax.eval_shape(vision.init, jax.random.key(0), jnp.zeros((1, 14, 14, 3)))["params"]
        assert set(flatten(shapes)) == set(params)


def test_a_speaker_encoder_as_published(monkeypatch, tmp_path: Path) -> None:
    sizes = EcapaConfig(mels=8, channels=(8, 8, 16), kernels=(5, 3, 1), dilations=(1, 2, 1), scale=2)
    monkeypatch.setitem(KINDS["speaker_encoder"].presets, "ecapa_small", sizes)
    tree = Ecapa(sizes).init(jax.random.key(0), jnp.zeros((1, 16, 8)), jnp.array([16]))["params"]
    published = export_weights(ecapa_rules(sizes), tree)
    torch.save({key: torch.tensor(array) for key, array in published.items()}, tmp_path / "embedding_model.ckpt")
    architecture, params = Pretrained(str(tmp_path), "ecapa_small").network("speaker_encoder")
    assert architecture == sizes
    jax.tree.map(np.testing.assert_array_equal, params, jax.tree.map(np.asarray, tree))
    with pytest.raises(StoryjaxError, match="are of another model than campplus: they have"):
        Pretrained(str(tmp_path), "campplus").parameters("speaker_encoder")
    assert Pretrained("shipped:storyworld_voices").architecture("speaker_encoder").norm == "group"


@pytest.fixture
def face(monkeypatch) -> dict[str, np.ndarray]:
    """A small face encoder, whose size has a name as VGGFace2's has."""
    monkeypatch.setitem(KINDS["face"].presets, "senet_small", FACE)
    tree = SEResNet(FACE).init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))["params"]
    return {path: np.asarray(leaf) for path, leaf in flatten(tree).items()}


@pytest.mark.parametrize("name", ["model.safetensors", "senet50_128.pth"])
def test_a_face_encoder_as_published(name: str, face: dict[str, np.ndarray], tmp_path: Path) -> None:
    published = export_weights(seresnet_rules(FACE), unflatten(face))
    state = {key: torch.tensor(array) for key, array in published.items()}
    state["conv1_7x7_s2_bn.num_batches_tracked"] = torch.tensor(7)
    save_file(state, tmp_path / name) if name.endswith(".safetensors") else torch.save(state, tmp_path / name)
    reference = Pretrained(str(tmp_path), "senet_small")
    assert reference.architecture("face") == FACE
    found = reference.parameters("face")
    assert set(found) == set(face)
    for path, tensor in found.items():
        np.testing.assert_array_equal(np.asarray(tensor), face[path])
    with pytest.raises(StoryjaxError, match=r"config.json is not there; get the weights of face by VGGFace2's"):
        Pretrained(str(tmp_path)).architecture("face")


def test_a_folder_of_one_network(face: dict[str, np.ndarray], tiny_t5, save, tmp_path: Path) -> None:
    """Ours with the network's config.json alone, and names that have no prefix."""
    folder = tmp_path / "face"
    save_tree(folder / "model.safetensors", face)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(FACE)))
    for preset in (None, "senet_small"):
        reference = Pretrained(str(folder), preset)
        assert reference.architecture("face") == FACE
        assert all(isinstance(tensor, StoredTensor) for tensor in reference.parameters("face").values())
        assert set(reference.parameters("face")) == set(face)
    whole = Pretrained(str(import_to(tmp_path / "ours", "t5", save(tmp_path / "hub", tiny_t5))))
    alone = tmp_path / "llm"
    save_tree(alone / "model.safetensors", {path: np.asarray(one) for path, one in whole.parameters("llm").items()})
    (alone / "config.json").write_text(json.dumps(dataclasses.asdict(whole.architecture("llm"))))
    assert Pretrained(str(alone)).architecture("llm") == whole.architecture("llm")
    same(Pretrained(str(alone)).parameters("llm"), whole.parameters("llm"))


def test_a_word_list_is_ours(tmp_path: Path) -> None:
    WordTokenizer.from_words(["who", "danced", "?"]).save(tmp_path / "tokenizer.json")
    tokenizer = Pretrained(str(tmp_path)).tokenizer("llm")
    assert isinstance(tokenizer, WordTokenizer)
    assert tokenizer.encode("Who danced?") == [3, 4, 5]


def test_nothing_is_read_before_it_is_used(tiny_t5, save, tmp_path: Path) -> None:
    hub = save(tmp_path / "hub", tiny_t5)
    parameters = Pretrained(str(hub)).parameters("llm")
    assert all(isinstance(tensor, ConvertedTensor) for tensor in parameters.values())
    (hub / "model.safetensors").unlink()
    with pytest.raises(StoryjaxError, match="cannot read weights from"):
        np.asarray(parameters["encoder/norm/scale"])


@pytest.mark.parametrize(
    ("kind", "preset", "damage", "message"),
    [
        ("llm", "flan_t5_xk", None, "Did you mean 'flan_t5_xl'"),
        ("llm", "flan_t5_xl", None, "config.json is not that of flan_t5_xl: vocab_size is 96, that of flan_t5_xl is"),
        ("clip", None, None, "describes a model of the type 't5', not 'clip'"),
        ("vision", None, None, "describes a model of the type 't5', not 'blip-2' or 'clip' or 'siglip'"),
        ("llm", None, lambda f: (f / "config.json").write_text("{"), "fetch or import the model again"),
        ("llm", None, lambda f: (f / "config.json").write_text("[]"), "does not describe a model"),
        ("llm", None, lambda f: (f / "config.json").unlink(), "config.json is not there; get the weights of llm by"),
        ("llm", None, lambda f: (f / "config.json").write_text('{"vision": {}}'), "describes vision, no 'llm'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    kind: str, preset: str | None, damage: Callable[[Path], Any] | None, message: str, tiny_t5, save, tmp_path: Path
) -> None:
    hub = save(tmp_path / "hub", tiny_t5)
    if damage is not None:
        damage(hub)
    with pytest.raises(StoryjaxError) as caught:
        Pretrained(str(hub), preset).architecture(kind)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_one_line(tiny_t5, tiny_clip, save, tmp_path: Path) -> None:
    hub, other = save(tmp_path / "hub", tiny_t5), save(tmp_path / "other", tiny_clip)
    index = load_file(hub / "model.safetensors")
    repeated = {"decoder.embed_tokens.weight": torch.ones(96, 24)}
    save_file(index | repeated, hub / "model.safetensors")
    parameters = Pretrained(str(hub)).parameters("llm")
    np.asarray(parameters["encoder/norm/scale"])
    with pytest.raises(StoryjaxError, match=r"it should equal shared\.weight"):
        np.asarray(parameters["shared/embedding"])
    del index["encoder.final_layer_norm.weight"]
    save_file(index, hub / "model.safetensors")
    with pytest.raises(StoryjaxError, match=r"1 missing: encoder\.final_layer_norm\.weight"):
        Pretrained(str(hub)).parameters("llm")
    (hub / "model.safetensors").unlink()
    with pytest.raises(StoryjaxError, match=r"model\.safetensors is not there; get the weights of llm by"):
        Pretrained(str(hub)).parameters("llm")
    with pytest.raises(StoryjaxError, match="not there"):
        Pretrained(str(tmp_path / "none"), "flan_t5_xl").parameters("llm")
    (other / "config.json").unlink()
    with pytest.raises(StoryjaxError, match="are of another model than senet50_128: they have"):
        Pretrained(str(other), "senet50_128").parameters("face")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoryjaxError, match=r"tokenizer\.json is not there"):
        Pretrained(str(tmp_path / "empty")).tokenizer("llm")


def test_presets_need_no_folder_and_shipped_networks_need_no_preset() -> None:
    for kind, known in KINDS.items():
        for preset, config in known.presets.items():
            assert Pretrained("nowhere", preset).architecture(kind) == config
    for name, kinds in (("storyworld_clip", ("vision",)), ("storyworld_t5", ("llm",)), ("storyworld_faces", ("face",))):
        shipped = Pretrained(f"shipped:{name}")
        for kind in kinds:
            assert type(shipped.architecture(kind)) is KINDS[kind].config
            assert shipped.parameters(kind)
    assert isinstance(Pretrained("shipped:storyworld_t5").tokenizer("llm"), WordTokenizer)
