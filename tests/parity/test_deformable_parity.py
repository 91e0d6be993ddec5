"""Deformable attention and Deformable DETR against the PyTorch models of `transformers`."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree, unflatten
from storyjax.models.deformable_detr import DeformableDetr
from storyjax.models.resnet import standardise
from storyjax.mqt.config import init_parameters
from storyjax.mqt.images import PaddedImages
from storyjax.mqt.model import Mqt, MqtConfig
from storyjax.mqt.published_weights import published_parameters
from storyjax.nn.deformable_attention import deformable_attention
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.rules import export_weights, import_weights, plan
from storyjax.weights.tables.deformable_detr import detr_from_hub, hub_name, hub_rules, original_rules

SHAPES = ((7, 9), (4, 5), (2, 3))


def test_attention_and_its_gradients() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, sum(y * x for y, x in SHAPES), 3, 8)).astype(np.float32)
    # Some samples lie outside, wholly and by a corner.
    locations = rng.uniform(-0.3, 1.3, size=(2, 11, 3, 3, 4, 2)).astype(np.float32)
    weights = rng.uniform(size=(2, 11, 3, 3, 4)).astype(np.float32)
    towards = rng.normal(size=(2, 11, 24)).astype(np.float32)

    tensors = [torch.from_numpy(array).requires_grad_() for array in (values, locations, weights)]
    theirs = MultiScaleDeformableAttention()(tensors[0], None, list(SHAPES), None, tensors[1], tensors[2], 64)
    theirs.backward(torch.from_numpy(towards))

    def ours(*inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = deformable_attention(*inputs, SHAPES)
        return (out * towards).sum(), out

    gradients, out = jax.jit(jax.grad(ours, argnums=(0, 1, 2), has_aux=True))(values, locations, weights)
    assert np.abs(np.asarray(out) - theirs.detach().numpy()).max() < 1e-5
    for mine, tensor in zip(gradients, tensors, strict=True):
        other = tensor.grad.numpy()
        # Gradients towards places are as large as differences of pixels times the size of a level.
        assert np.abs(np.asarray(mine) - other).max() < 1e-5 * max(1.0, np.abs(other).max())


def small(box_refine: bool, two_stage: bool) -> transformers.DeformableDetrConfig:
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[16, 16, 32, 32],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
        out_features=["stage2", "stage3", "stage4"],
    )
    return transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        num_queries=7,
        two_stage_num_proposals=7,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_labels=5,
        with_box_refine=box_refine,
        two_stage=two_stage,
        disable_custom_kernels=True,
    )


@pytest.fixture(scope="module", params=[(False, False), (True, True)], ids=["plain", "two-stage"])
def model(request: pytest.FixtureRequest) -> transformers.DeformableDetrForObjectDetection:
    return random_model(*request.param)


def random_model(box_refine: bool, two_stage: bool) -> transformers.DeformableDetrForObjectDetection:
    """Random weights, statistics that are neither zero nor one, and offsets that are not zero."""
    torch.manual_seed(0)
    made = transformers.DeformableDetrForObjectDetection(small(box_refine, two_stage)).eval()
    with torch.no_grad():
        for name, array in made.state_dict().items():
            if name.endswith("running_mean"):
                array.normal_(std=0.2)
            elif name.endswith("running_var"):
                array.uniform_(0.5, 1.5)
            elif name.endswith(("normalization.weight", "layer_norm.weight")):
                array.normal_(mean=1.0, std=0.1)
            elif array.ndim == 4:
                array.normal_(std=array[0].numel() ** -0.5)
            elif array.is_floating_point() and "level" not in name:
                array.add_(0.1 * torch.randn(array.shape))
    return made


def abstract(config: object) -> dict:
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(DeformableDetr(config).init, jax.random.key(0), image)["params"]


def named(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {hub_name(name): tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def test_the_whole_model(model, agree) -> None:
    config = detr_from_hub(model.config)
    params = import_weights(hub_rules(config), named(model), abstract(config), "the reference")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 64, 96, 3)).astype(np.float32)
    mask = np.ones((2, 64, 96), bool)
    mask[1, 40:], mask[1, :, 70:] = False, False
    images[~mask] = 0
    ours = jax.jit(lambda p, *inputs: DeformableDetr(config).apply({"params": p}, *inputs))(params, images, mask)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(mask).long())
    agree(ours.logits[-1], theirs.logits, 1e-4)
    agree(ours.boxes[-1], theirs.pred_boxes, 1e-4)
    if config.two_stage:
        agree(ours.proposal_logits, theirs.enc_outputs_class, 1e-4)
    # The mask says something: where nothing is hidden the second image has other boxes.
    assert np.abs(np.asarray(ours.boxes[-1, 0]) - np.asarray(ours.boxes[-1, 1])).max() > 1e-3


def test_published_weights_detect_in_an_mqt_as_published(agree, tmp_path: Path, caplog) -> None:
    """Of images with padding too: the det queries are the published ones, and so is all that they read."""
    theirs = random_model(box_refine=True, two_stage=False)
    config = detr_from_hub(theirs.config)
    params = flatten(import_weights(hub_rules(config), named(theirs), abstract(config), "the reference"))
    save_tree(tmp_path / "model.safetensors", params, {})
    mqt = Mqt(MqtConfig(dataclasses.replace(config, classes=0, dropout=0.0), point_size=0.5))
    given = published_parameters(str(tmp_path), mqt)
    assert "queries" in given
    assert f"{len(given)} of its {len(params)} arrays start the MQT; unused: class_heads_0, " in caplog.text
    own = jax.jit(lambda key: init_parameters(mqt, (64, 96), key))(jax.random.key(0))
    started = unflatten({**flatten(own), **given})
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    images = PaddedImages(pixels, np.array([[64, 96], [40, 70]], np.int32))
    found = jax.jit(lambda p, batch: mqt.apply({"params": p}, batch))(started, images)
    mask = np.array(images.mask)
    shown = np.where(mask[..., None], np.asarray(standardise(jnp.asarray(pixels), jnp.float32)), 0)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(shown).permute(0, 3, 1, 2), torch.from_numpy(mask).long())
    agree(found.det.boxes[-1], wanted.pred_boxes, 1e-4)


def to_original(name: str) -> str:
    """The authors' name for one of transformers'."""
    name = re.sub(r"^model\.backbone\.model\.", "backbone.0.body.", name)
    name = re.sub(r"^model\.input_proj", "input_proj", name)
    name = name.replace("model.query_position_embeddings", "query_embed")
    norms = {"encoder": ("self_attn_layer_norm", "final_layer_norm"), "decoder": ("encoder_attn_layer_norm",)}
    norms["decoder"] = (*norms["decoder"], "self_attn_layer_norm", "final_layer_norm")
    for part, order in norms.items():
        for i, norm in enumerate(order, 1):
            name = re.sub(rf"^(model\.{part}\.layers\.\d+)\.{norm}\.", rf"\1.norm{i}.", name)
    name = name.replace(".encoder_attn.", ".cross_attn.").replace(".o_proj.", ".out_proj.")
    name = name.replace(".mlp.fc", ".linear")
    return re.sub(r"^model\.", "transformer.", name)


def test_the_authors_layout_holds_the_same(model) -> None:
    config, theirs = detr_from_hub(model.config), named(model)
    original = {to_original(name): array for name, array in theirs.items()}
    for layer in range(config.decoder_layers):
        prefix = f"transformer.decoder.layers.{layer}.self_attn"
        for kind in ("weight", "bias"):
            parts = [original.pop(f"{prefix}.{part}_proj.{kind}") for part in "qkv"]
            original[f"{prefix}.in_proj_{kind}"] = np.concatenate(parts)
    tree = abstract(config)
    first = flatten(import_weights(hub_rules(config), theirs, tree, "hub"))
    second = flatten(import_weights(original_rules(config), original, tree, "original"))
    assert all(np.array_equal(first[path], second[path]) for path in first)
    back = export_weights(original_rules(config), import_weights(original_rules(config), original, tree, "original"))
    assert all(np.array_equal(array, original[name]) for name, array in back.items())
    del original["transformer.level_embed"]
    with pytest.raises(StoryjaxError, match=r"1 missing: transformer\.level_embed"):
        import_weights(original_rules(config), original, tree, "original")


def test_older_names_mean_the_same() -> None:
    older = {
        "model.backbone.conv_encoder.model.layer1.0.bn1.running_mean": "model.backbone.model.layer1.0.bn1.running_mean",
        "model.decoder.layers.3.self_attn.out_proj.bias": "model.decoder.layers.3.self_attn.o_proj.bias",
        "model.encoder.layers.0.fc1.weight": "model.encoder.layers.0.mlp.fc1.weight",
    }
    assert {name: hub_name(name) for name in older} == older


@pytest.mark.parametrize("name", ["deformable-detr-r50", "deformable-detr-r50-refine", "deformable-detr-r50-two-stage"])
def test_a_published_size_is_covered_to_the_last_key(name: str) -> None:
    published = PUBLISHED[name]
    config = published.config
    hub = transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        backbone_config=transformers.ResNetConfig(out_features=["stage2", "stage3", "stage4"]),
        num_labels=91,
        with_box_refine=config.box_refine,
        two_stage=config.two_stage,
    )
    assert detr_from_hub(hub) == config
    with torch.device("meta"):
        model = transformers.DeformableDetrForObjectDetection(hub)
    source = {
        hub_name(key): jax.ShapeDtypeStruct(tuple(tensor.shape), jnp.float32)
        for key, tensor in model.state_dict().items()
    }
    shapes = {path: tuple(leaf.shape) for path, leaf in published.family.shapes(config).items()}
    plan(hub_rules(config), source, shapes, name)
    assert dataclasses.replace(config, classes=1) != config
