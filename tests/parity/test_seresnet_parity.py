"""The face encoder against a PyTorch SE-ResNet-50 with the names of VGGFace2's published networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNet, SEResNetConfig, centre
from storyjax.weights.rules import export_weights, import_weights
from storyjax.weights.tables.face import seresnet_rules

SMALL = SEResNetConfig(
    image_size=56, stem_width=8, widths=(4, 6, 8, 8), depths=(2, 1, 2, 1), reduction=4, embedding_dim=10
)


class Reference(nn.Module):
    """The published network, written from its paper and its list of names."""

    def __init__(self, config: SEResNetConfig):
        super().__init__()
        self.blocks: list[tuple[str, bool]] = []
        self._conv("conv1_7x7_s2", 3, config.stem_width, 7, 2)
        before = config.stem_width
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for block in range(depth):
                name, after = f"conv{stage + 2}_{block + 1}", width * config.expansion
                stride = 2 if stage and not block else 1
                self._conv(f"{name}_1x1_reduce", before, width, 1, stride)
                self._conv(f"{name}_3x3", width, width, 3, 1)
                self._conv(f"{name}_1x1_increase", width, after, 1, 1)
                self.add_module(f"{name}_1x1_down", nn.Conv2d(after, after // config.reduction, 1))
                self.add_module(f"{name}_1x1_up", nn.Conv2d(after // config.reduction, after, 1))
                if not block:
                    self._conv(f"{name}_1x1_proj", before, after, 1, stride)
                self.blocks.append((name, not block))
                before = after
        self.feat_extract = nn.Conv2d(before, config.embedding_dim, 1, bias=False)

    def _conv(self, name: str, into: int, out: int, kernel: int, stride: int) -> None:
        self.add_module(name, nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out))

    def _apply_conv(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, f"{name}_bn")(getattr(self, name)(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._apply_conv("conv1_7x7_s2", x).relu()
        x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for name, project in self.blocks:
            h = self._apply_conv(f"{name}_1x1_reduce", x).relu()
            h = self._apply_conv(f"{name}_3x3", h).relu()
            h = self._apply_conv(f"{name}_1x1_increase", h)
            weight = getattr(self, f"{name}_1x1_down")(h.mean(dim=(2, 3), keepdim=True)).relu()
            weight = getattr(self, f"{name}_1x1_up")(weight).sigmoid()
            x = self._apply_conv(f"{name}_1x1_proj", x) if project else x
            x = (x + weight * h).relu()
        return self.feat_extract(x.mean(dim=(2, 3), keepdim=True)).flatten(1)


def abstract_tree(config: SEResNetConfig) -> dict:
    image = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    return jax.eval_shape(SEResNet(config).init, jax.random.key(0), image)["params"]


@pytest.fixture
def reference() -> Reference:
    """Random weights, with statistics that are neither zero nor one."""
    torch.manual_seed(0)
    model = Reference(SMALL).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    for name, parameter in model.named_parameters():
        if "_bn." in name:
            nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
    return model


@pytest.mark.parametrize("size", [56, 60])  # 60 leaves a row over in the first pooling where 56 does not
def test_small_network(reference, arrays, agree, size):
    params = import_weights(seresnet_rules(SMALL), arrays(reference), abstract_tree(SMALL), "the reference")
    faces = np.random.default_rng(0).integers(0, 256, size=(2, size, size, 3), dtype=np.uint8)
    ours = jax.jit(lambda p, x: SEResNet(SMALL).apply({"params": p}, centre(x, SMALL)))(params, faces)
    mean = torch.tensor([131.0912, 103.8827, 91.4953])
    theirs = reference((torch.from_numpy(faces).float() - mean).permute(0, 3, 1, 2))
    agree(ours, theirs, 1e-4)
    assert np.abs(np.asarray(ours)[0] - np.asarray(ours)[1]).max() > 1e-3


def test_every_name_of_the_published_size_has_its_place(arrays):
    with torch.device("meta"):
        published = arrays(Reference(SE_RESNET_50_128D))
    tree = abstract_tree(SE_RESNET_50_128D)
    imported = import_weights(seresnet_rules(SE_RESNET_50_128D), published, tree, "the reference")
    assert {path: leaf.shape for path, leaf in flatten(imported).items()} == {
        path: leaf.shape for path, leaf in flatten(tree).items()
    }
    back = export_weights(seresnet_rules(SE_RESNET_50_128D), imported)
    counters = {name for name in published if name.endswith("num_batches_tracked")}
    assert {name: array.shape for name, array in back.items()} == {
        name: array.shape for name, array in published.items() if name not in counters
    }
    # 25.6 M of ResNet-50 without its classifier, 2.5 M of squeeze and excitation, 0.26 M of the last layer.
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == sum(array.size for array in back.values()) > 26e6


def test_a_network_of_another_size_is_refused(reference, arrays):
    other = dataclasses.replace(SMALL, embedding_dim=12)
    with pytest.raises(StoryjaxError, match="1 misshapen: feat_extract"):
        import_weights(seresnet_rules(other), arrays(reference), abstract_tree(other), "the reference")
