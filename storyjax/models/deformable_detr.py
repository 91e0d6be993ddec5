"""Deformable DETR (Zhu et al. 2021): a detector whose transformer attends to a few positions of a feature pyramid.

Its parts, `FeaturePyramid`, `Encoder` and `Decoder`, take any queries; `DeformableDetr` joins them as published,
with learnt queries, or with proposals of the encoder (`two_stage`), whose boxes each layer refines (`box_refine`).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from storyjax.models.resnet import RESNET_50, ResNet, ResNetConfig
from storyjax.nn.boxes import inverse_sigmoid
from storyjax.nn.deformable_attention import Shapes
from storyjax.nn.deformable_layers import DecoderLayer, EncoderLayer, Head, Pyramid, sine_embedding
from storyjax.nn.layer_loop import loop_layers, stacked_parameters
from storyjax.nn.transformer import layer_norm


@dataclasses.dataclass(frozen=True)
class DeformableDetrConfig:
    """The shape of a Deformable DETR; the defaults are the published single-stage model's.

    Attributes:
      levels: of the pyramid; those beyond the backbone's are made by strided convolutions.
      queries: learnt ones, or proposals where there are two stages.
      classes: of the class head.
      box_refine: every decoder layer refines the boxes of the one before; then each has heads of its own.
      two_stage: queries are made from the encoder's best proposals.
      groups: of the norms after the projections of the backbone's maps.
      size_bias: the logit of width and height that box heads start with.
      loop_layers: the encoder's and the decoder's layers run as loops (nn/layer_loop.py), which compile in a third of
        the time; the results are the same but for dropout's draws.
    """

    backbone: ResNetConfig = RESNET_50
    width: int = 256
    mlp_width: int = 1024
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    points: int = 4
    levels: int = 4
    queries: int = 300
    classes: int = 91
    box_refine: bool = False
    two_stage: bool = False
    dropout: float = 0.1
    groups: int = 32
    size_bias: float = -2.0
    eps: float = 1e-5
    loop_layers: bool = False


@struct.dataclass
class DecoderOutputs:
    """The outputs of all k decoder layers: states (k, b, q, d) and logits of boxes (k, b, q, 4)."""

    states: Any
    box_logits: Any

    @property
    def boxes(self) -> Float[Array, "k b q 4"]:
        """(cx, cy, w, h), normalised to the image."""
        return jax.nn.sigmoid(self.box_logits)


def _shrink(mask: Bool[Array, "b y x"], shape: tuple[int, int]) -> Bool[Array, "b v u"]:
    """The mask of a smaller map: that of the nearest pixel up and left, as PyTorch counts."""
    rows, columns = (np.arange(new) * old // new for old, new in zip(mask.shape[1:], shape, strict=True))
    return mask[:, rows][:, :, columns]


class FeaturePyramid(nn.Module):
    """The flattened levels that the transformer reads, of images."""

    config: DeformableDetrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b y x 3"], mask: Bool[Array, "b y x"] | None = None) -> Pyramid:
        """Returns the pyramid; `mask` is True where an image is not padding, which is to the right and below only."""
        cfg = self.config
        if mask is None:
            mask = jnp.ones(images.shape[:3], bool)
        maps = list(ResNet(cfg.backbone, self.dtype, name="backbone")(images))
        levels: list[Array] = []
        for level in range(cfg.levels):
            if level < len(maps):
                source, kernel, stride = maps[level], 1, 1
            else:
                source, kernel, stride = (maps[-1] if level == len(maps) else levels[-1]), 3, 2
            pad = kernel // 2
            conv = nn.Conv(
                cfg.width,
                (kernel, kernel),
                stride,
                padding=((pad, pad),) * 2,
                dtype=self.dtype,
                name=f"project_{level}",
            )
            norm = nn.GroupNorm(cfg.groups, epsilon=1e-5, dtype=self.dtype, name=f"project_{level}_norm")
            levels.append(norm(conv(source)))
        shapes = tuple((int(level.shape[1]), int(level.shape[2])) for level in levels)
        masks = [_shrink(mask, shape) for shape in shapes]
        embedding = self.param("level", nn.initializers.normal(1.0), (cfg.levels, cfg.width))
        positions = [_positions(m, cfg.width) + embedding[i][None, None] for i, m in enumerate(masks)]
        valid = [jnp.stack([m[:, 0].mean(axis=-1), m[:, :, 0].mean(axis=-1)], axis=-1) for m in masks]
        return Pyramid(
            tokens=jnp.concatenate([_flat(level) for level in levels], axis=1),
            position=jnp.concatenate(positions, axis=1).astype(self.dtype),
            mask=jnp.concatenate([m.reshape(m.shape[0], -1) for m in masks], axis=1),
            valid=jnp.stack(valid, axis=1),
            shapes=shapes,
        )


def _flat(level: Float[Array, "b y x d"]) -> Float[Array, "b n d"]:
    return level.reshape(level.shape[0], -1, level.shape[-1])


def _positions(mask: Bool[Array, "b y x"], width: int) -> Float[Array, "b n d"]:
    """Sine embeddings of the position of each pixel within the image, the row's before the column's."""
    counted = mask.astype(jnp.float32)
    y, x = counted.cumsum(axis=1), counted.cumsum(axis=2)
    y = (y - 0.5) / (y[:, -1:, :] + 1e-6)
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6)
    return _flat(sine_embedding(2 * math.pi * jnp.stack([y, x], axis=-1), width // 2))


def _grid(height: int, width: int) -> Float[np.ndarray, "n 2"]:
    """Centres (x, y) of the pixels of a level, in pixels."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x.reshape(-1), y.reshape(-1)], axis=-1).astype(np.float32)


def pixel_centres(shapes: Shapes, valid: Float[Array, "b l 2"]) -> Float[Array, "b n 2"]:
    """Returns the centre (x, y) of each token, normalised to the image; beyond 1 in the padding."""
    levels = [
        jnp.asarray(_grid(y, x))[None] / (valid[:, level, None] * jnp.array([x, y], jnp.float32)[None, None])
        for level, (y, x) in enumerate(shapes)
    ]
    return jnp.concatenate(levels, axis=1)


class Encoder(nn.Module):
    """The encoder: tokens of a pyramid attend to each other."""

    config: DeformableDetrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Pyramid, deterministic: bool = True) -> Float[Array, "b n d"]:
        """Returns the tokens after the last layer; dropout is applied unless `deterministic`."""
        cfg = self.config
        centre = pixel_centres(pyramid.shapes, pyramid.valid)[:, :, None] * pyramid.valid[:, None]
        x, names = pyramid.tokens, [f"layer_{i}" for i in range(cfg.encoder_layers)]
        shape = cfg.heads, cfg.points, cfg.mlp_width, cfg.dropout, cfg.eps, self.dtype
        if not cfg.loop_layers or self.is_initializing():
            for name in names:
                x = EncoderLayer(*shape, name=name)(x, pyramid, centre, deterministic)
            return x
        layer = EncoderLayer(*shape, parent=None)

        def step(x: Array, params: Any, rngs: dict[str, jax.Array]) -> tuple[Array, None]:
            out: Any = layer.apply({"params": params}, x, pyramid, centre, deterministic, rngs=rngs)
            return out, None

        dropout = None if deterministic else self.make_rng("dropout")
        return loop_layers(step, x, stacked_parameters(self, names)[0], dropout, remat=True)[0]


class Decoder(nn.Module):
    """The decoder: from queries and their references to states and boxes."""

    config: DeformableDetrConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        self.layers = [
            DecoderLayer(cfg.heads, cfg.points, cfg.mlp_width, cfg.dropout, cfg.eps, self.dtype)
            for _ in range(cfg.decoder_layers)
        ]
        heads = (cfg.decoder_layers if cfg.box_refine else 1) + (1 if cfg.two_stage else 0)
        self.box_heads = [Head(cfg.width, 4, size_bias=cfg.size_bias, dtype=self.dtype) for _ in range(heads)]

    def propose(self, x: Float[Array, "b n d"]) -> Float[Array, "b n 4"]:
        """Returns what is added to the logits of the encoder tokens' proposals; for two stages."""
        return self.box_heads[-1](x)

    def __call__(
        self,
        content: Float[Array, "b q d"],
        position: Float[Array, "b q d"],
        reference: Float[Array, "b q 4"],
        sized: Bool[Array, "b q"],
        memory: Float[Array, "b n d"],
        pyramid: Pyramid,
        mask: Bool[Array, "#b 1 #q q"] | None = None,
        deterministic: bool = True,
    ) -> DecoderOutputs:
        """Returns the outputs of every layer.

        Args:
          content, position: of the queries.
          reference, sized: see `storyjax.nn.deformable_layers`.
          memory: tokens of the encoder.
          pyramid: their mask and shapes.
          mask: which queries may attend to which; None for all.
          deterministic: whether dropout is left out.
        """
        cfg, position = self.config, position.astype(self.dtype)
        start = content.astype(self.dtype), reference.astype(jnp.float32), sized

        def step(carry: Any, layer: Callable[..., Array], head: Callable[[Array], Array]) -> tuple[Any, Any]:
            x, reference, sized = carry
            x = layer(x, position, reference, sized, memory, pyramid, mask, deterministic)
            logit = head(x) + inverse_sigmoid(reference)
            if cfg.box_refine:
                reference, sized = lax.stop_gradient(jax.nn.sigmoid(logit)), jnp.ones_like(sized)
            return (x, reference, sized), (x, logit)

        heads = [self.box_heads[i if cfg.box_refine else 0] for i in range(cfg.decoder_layers)]
        if cfg.loop_layers and not self.is_initializing():
            return DecoderOutputs(*self._loop(step, start, heads, deterministic))
        outputs = []
        for layer, head in zip(self.layers, heads, strict=True):
            start, output = step(start, layer, head)
            outputs.append(output)
        states, logits = zip(*outputs, strict=True)
        return DecoderOutputs(jnp.stack(states), jnp.stack(logits))

    def _loop(
        self, step: Callable[..., tuple[Any, Any]], start: Any, heads: list[Head], deterministic: bool
    ) -> tuple[Array, Array]:
        """(states, logits) of all layers, run as a loop."""
        layer, head = self.layers[0].clone(parent=None, name=None), heads[0].clone(parent=None, name=None)
        names = [f"layers_{i}" for i in range(len(heads))], [one.name or "" for one in heads]

        def body(carry: Any, params: tuple[Any, Any], rngs: dict[str, jax.Array]) -> tuple[Any, Any]:
            of_layer, of_head = ({"params": part} for part in params)
            return step(
                carry, lambda *inputs: layer.apply(of_layer, *inputs, rngs=rngs), lambda x: head.apply(of_head, x)
            )

        dropout = None if deterministic else self.make_rng("dropout")
        return loop_layers(body, start, stacked_parameters(self, *names), dropout)[1]


@struct.dataclass
class Detections:
    """The detections of every decoder layer, and the encoder's proposals where there are two stages.

    Attributes:
      logits: (k, b, q, classes).
      boxes: (k, b, q, 4), (cx, cy, w, h).
      states: (k, b, q, d), of the queries.
      proposal_logits: (b, n, classes) or None.
      proposal_boxes: (b, n, 4) or None.
    """

    logits: Any
    boxes: Any
    states: Any
    proposal_logits: Any = None
    proposal_boxes: Any = None


class DeformableDetr(nn.Module):
    """The whole detector, as published."""

    config: DeformableDetrConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        self.pyramid = FeaturePyramid(cfg, self.dtype)
        self.encoder = Encoder(cfg, self.dtype)
        self.decoder = Decoder(cfg, self.dtype)
        heads = (cfg.decoder_layers if cfg.box_refine else 1) + (1 if cfg.two_stage else 0)
        rare = nn.initializers.constant(-math.log(99.0))  # objects are rare: focal loss starts at one in a hundred
        self.class_heads = [nn.Dense(cfg.classes, bias_init=rare, dtype=jnp.float32) for _ in range(heads)]
        if cfg.two_stage:
            self.proposal = nn.Dense(cfg.width, dtype=self.dtype)
            self.proposal_norm = layer_norm(cfg.eps, self.dtype, None)
            self.proposal_query = nn.Dense(2 * cfg.width, dtype=self.dtype)
            self.proposal_query_norm = layer_norm(cfg.eps, self.dtype, None)
        else:
            self.queries = self.param("queries", nn.initializers.normal(1.0), (cfg.queries, 2 * cfg.width))
            self.reference = nn.Dense(2, kernel_init=nn.initializers.xavier_uniform(), dtype=jnp.float32)

    def __call__(
        self, images: Float[Array, "b y x 3"], mask: Bool[Array, "b y x"] | None = None, deterministic: bool = True
    ) -> Detections:
        """Returns boxes and classes of normalised images.

        Args:
          images: as `storyjax.models.resnet.standardise` returns them.
          mask: True where an image is not padding; None for images without any.
          deterministic: whether dropout is left out.
        """
        cfg, batch = self.config, images.shape[0]
        pyramid = self.pyramid(images, mask)
        memory = self.encoder(pyramid, deterministic)
        proposals: tuple[Array | None, Array | None] = (None, None)
        if cfg.two_stage:
            logits, box_logits = self._proposals(memory, pyramid)
            proposals = logits, jax.nn.sigmoid(box_logits)
            best = lax.top_k(logits[..., 0], cfg.queries)[1]
            chosen = lax.stop_gradient(jnp.take_along_axis(box_logits, best[..., None], axis=1))
            reference = jax.nn.sigmoid(chosen)
            waves = sine_embedding(2 * math.pi * reference, cfg.width // 2)
            queries = self.proposal_query_norm(self.proposal_query(waves))
        else:
            queries = jnp.broadcast_to(self.queries[None], (batch, *self.queries.shape))
        position, content = jnp.split(queries, 2, axis=-1)
        if not cfg.two_stage:
            # The width and height of a position without a size: logits of zero.
            centre = jax.nn.sigmoid(self.reference(position))
            reference = jnp.concatenate([centre, jnp.full_like(centre, 0.5)], axis=-1)
        sized = jnp.full(reference.shape[:2], cfg.two_stage)
        decoded = self.decoder(content, position, reference, sized, memory, pyramid, deterministic=deterministic)
        own = self.class_heads if cfg.box_refine else [self.class_heads[0]] * cfg.decoder_layers
        logits = jnp.stack([own[i](decoded.states[i]) for i in range(cfg.decoder_layers)])
        return Detections(logits, decoded.boxes, decoded.states, *proposals)

    def _proposals(
        self, memory: Float[Array, "b n d"], pyramid: Pyramid
    ) -> tuple[Float[Array, "b n c"], Float[Array, "b n 4"]]:
        """A proposal of every token: logits of classes and of boxes."""
        centres = pixel_centres(pyramid.shapes, pyramid.valid)
        sizes = np.concatenate([np.full((y * x, 2), 0.05 * 2.0**i) for i, (y, x) in enumerate(pyramid.shapes)])
        all_sizes = jnp.broadcast_to(jnp.asarray(sizes, jnp.float32)[None], centres.shape)
        boxes = jnp.concatenate([centres, all_sizes], axis=-1)
        usable = jnp.all((boxes > 0.01) & (boxes < 0.99), axis=-1) & pyramid.mask
        # What is outside the image is never chosen; a box there has a logit of infinity.
        start = jnp.where(usable[..., None], jnp.log(boxes / jnp.maximum(1.0 - boxes, 1e-6)), jnp.inf)
        x = self.proposal_norm(self.proposal(jnp.where(usable[..., None], memory, 0)))
        return self.class_heads[-1](x), self.decoder.propose(x) + start
