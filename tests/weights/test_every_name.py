"""Every name of `storyjax import --list` imports a small checkpoint, in each layout that it claims."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.models.campplus import CAMPPLUS
from storyjax.models.ecapa import ECAPA
from storyjax.models.laughter import RESNET_BASE
from storyjax.models.lwtnet import LWTNET
from storyjax.models.seresnet import SE_RESNET_50_128D
from storyjax.weights.import_weights import import_model
from storyjax.weights.registry import PUBLISHED, Published
from storyjax.weights.rules import _zeros, export_weights

TOWER = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
IMAGES = {**TOWER, "image_size": 14, "patch_size": 7}
WORDS = {**TOWER, "vocab_size": 40, "max_position_embeddings": 8}
T5 = {"vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2, "num_layers": 1, "num_decoder_layers": 1}
RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8, 8, 12], "depths": [1, 1, 1, 1], "layer_type": "basic"}


@functools.cache
def hub_config(kind: str) -> Any:
    """A small config of transformers."""
    if kind == "t5":
        return transformers.T5Config(**T5, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
    if kind == "clip":
        text = {**WORDS, "bos_token_id": 38, "eos_token_id": 39}
        return transformers.CLIPConfig(vision_config=IMAGES, text_config=text, projection_dim=8)
    if kind == "siglip":
        return transformers.SiglipConfig(vision_config=IMAGES, text_config={**WORDS, "projection_size": 8})
    if kind == "blip-2":
        text = hub_config("t5").to_dict()
        return transformers.Blip2Config(
            vision_config=IMAGES, qformer_config=TOWER, text_config=text, num_query_tokens=3
        )
    backbone = transformers.ResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])
    if kind == "resnet":
        return backbone
    sizes = {"d_model": 32, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12, "num_queries": 3, "num_feature_levels": 4}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return transformers.DeformableDetrConfig(
        **sizes,
        **layers,
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
    )


# Of what transformers does not know: the published architecture, narrower.
NARROWER = {
    "senet50-128": dataclasses.replace(
        SE_RESNET_50_128D, image_size=32, stem_width=4, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), reduction=4
    ),
    "ecapa": dataclasses.replace(
        ECAPA, mels=8, channels=(16, 16, 16, 16, 48), squeeze_width=4, attention_width=4, embedding_dim=6
    ),
    "campplus": dataclasses.replace(CAMPPLUS, mels=16, front_width=4, stem_width=8, depths=(2, 2, 2), growth=4),
    "laughter": dataclasses.replace(PUBLISHED["laughter"].config, stem_width=4, widths=(4, 4, 4, 4), hidden=4),
    "laughter-base": dataclasses.replace(RESNET_BASE, stem_width=4, widths=(4, 4, 4, 4), hidden=4),
    "lwtnet": dataclasses.replace(LWTNET, hidden=4, embedding_dim=6),
}


@functools.cache
def small_config(name: str) -> Any:
    family = PUBLISHED[name].family
    if not family.model_types:
        return NARROWER[name]
    small = family.from_hub(hub_config(family.model_types[0]))
    options = {key: True for key in ("box_refine", "two_stage") if getattr(PUBLISHED[name].config, key, False)}
    return dataclasses.replace(small, **options)


_abstract = functools.cache(lambda shapes, config: shapes(config))


def small(name: str) -> Published:
    """The published model of that name, of a small size; its family alone has its size in config.json."""
    published = PUBLISHED[name]
    family = dataclasses.replace(published.family, shapes=functools.partial(_abstract, published.family.shapes))
    return Published(family, None if published.config is None else small_config(name), published.hub)


def numbers(name: str, table: Any) -> dict[str, np.ndarray]:
    """Parameters of ours, each drawn by its own path; zeros where the layout has none."""
    drawn = {}
    for path, leaf in small(name).family.shapes(small_config(name)).items():
        seeded = np.random.default_rng(zlib.crc32(path.encode())).normal(size=leaf.shape).astype(np.float32)
        drawn[path] = np.zeros_like(seeded) if _zeros(table, path) else seeded
    return drawn


def nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *folders, leaf = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = array
    return tree


CASES = [(name, layout.name) for name, each in PUBLISHED.items() for layout in each.family.layouts]


@pytest.mark.parametrize(("name", "layout_name"), CASES)
def test_every_name_imports_every_layout_that_it_claims(
    name: str, layout_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, config = PUBLISHED[name], small_config(name)
    layout = next(each for each in published.family.layouts if each.name == layout_name)
    table = layout.table(config)
    expected = numbers(name, table)
    source = export_weights(table, nested(expected))
    if layout_name == "transformers" and "resnet" in published.family.model_types:  # whose names our rules don't have
        with torch.device("meta"):
            theirs = transformers.ResNetForImageClassification(hub_config("resnet")).state_dict()
        source = {key: source[layout.rename(key)] for key in theirs if layout.rename(key) in source}
    assert any(key.startswith(layout.signs) for key in source)
    save_file(source, tmp_path / "model.safetensors")
    if published.config is None:
        hub_config(published.family.model_types[0]).save_pretrained(tmp_path)
    monkeypatch.setitem(PUBLISHED, name, small(name))
    made = import_model(name, [str(tmp_path)], tmp_path / "out", progress=False)
    assert made.layout == layout_name
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(written[path], array)


@pytest.fixture(scope="module")
def resnet() -> transformers.ResNetForImageClassification:
    torch.manual_seed(0)
    return transformers.ResNetForImageClassification(hub_config("resnet")).eval()


def saved(folder: Path, state: Mapping[str, torch.Tensor], config: bool = True) -> Path:
    folder.mkdir()
    save_torch({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    if config:
        hub_config("resnet").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["resnet", "resnet-18", "resnet-50"])
def test_resnets_of_transformers_with_and_without_their_classifier(name: str, resnet, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(PUBLISHED, name, small(name))
    kernel = resnet.resnet.embedder.embedder.convolution.weight.detach().numpy().transpose(2, 3, 1, 0)
    for part, model in (("whole", resnet), ("without", resnet.resnet)):
        folder = saved(tmp_path / part, model.state_dict())
        assert run(["import", name, "--from", str(folder), "--out", str(tmp_path / f"{part}_out")]) == 0
        written = load_file(tmp_path / f"{part}_out" / "model.safetensors")
        np.testing.assert_array_equal(written["backbone/stem/conv/kernel"], kernel)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("torch_file", [False, True])
def test_what_a_model_was_wrapped_in_does_not_matter(prefix: str, torch_file: bool, resnet, tmp_path: Path) -> None:
    state = {prefix + name: tensor for name, tensor in resnet.state_dict().items()}
    if torch_file:
        (tmp_path / "from").mkdir()
        hub_config("resnet").save_pretrained(tmp_path / "from")
        torch.save({"epoch": 3, "state_dict": state}, tmp_path / "from" / "last.pth")
    else:
        saved(tmp_path / "from", state)
    made = import_model("resnet", [str(tmp_path / "from")], tmp_path / "out", progress=False)
    assert made.layout == "transformers"


def test_a_compiled_part_of_a_model_is_found_too(resnet, tmp_path: Path) -> None:
    state = {name.replace("encoder.", "encoder._orig_mod."): t for name, t in resnet.state_dict().items()}
    import_model("resnet", [str(saved(tmp_path / "from", state))], tmp_path / "out", progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, resnet, tmp_path: Path, capsys) -> None:
    state = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    state["resnet.embedder.embedder.convolution.weight"][0, 0, 0, 0] = value
    folder = saved(tmp_path / "from", state)
    assert run(["import", "resnet", "--from", str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "1 of the 588 numbers of 'conv1.weight' are not finite" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_numbers_that_a_type_cannot_hold_are_refused(resnet, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    state["resnet.embedder.embedder.convolution.weight"][0, 0, 0, 0] = 1e6
    folder = saved(tmp_path / "from", state)
    with pytest.raises(StoryjaxError, match=r"holds 1e\+06, more than float16 can"):
        import_model("resnet", [str(folder)], tmp_path / "out", "float16", progress=False)
