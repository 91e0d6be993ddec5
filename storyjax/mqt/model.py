"""MQT: a Deformable DETR whose decoder takes queries of four kinds in one pass (thesis §2.3.1, Fig. 2.2).

| kind | content | reference | position embedding |
|---|---|---|---|
| det  | learnt, the same for every frame | a point predicted from the query | learnt |
| pos  | a one-layer perceptron of a box (cx, cy, w, h) | that box | sines of the box |
| id   | the appearance in the frame before | a point predicted from the query | a linear map of the content |
| both | the decoder's state in the frame before | the box last predicted | sines of the box |

The thesis gives the contents; references and position embeddings, which a deformable decoder needs besides, are our
reading of it. Appearances are compared by cosine; as the content of a query an appearance is scaled to the length of a
normalised state. Every kind adds a learnt vector to its content.

Without classes a `det` output needs another way to report that there is no object: appearances have one learnt
direction for "no object", to which the loss draws unmatched outputs and from which it pushes matched ones. `objectness`
measures the distance to it. A class head (Table 2.5c) is an option.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.models.deformable_detr import Decoder, DeformableDetrConfig, Encoder, FeaturePyramid
from storyjax.models.resnet import standardise
from storyjax.mqt.aggregation import Aggregation, Outputs, Scheme
from storyjax.mqt.images import PaddedImages
from storyjax.nn.boxes import clip_to_image
from storyjax.nn.deformable_layers import Head, Pyramid, sine_embedding

Kind = Literal["pos", "id", "both"]
KINDS: tuple[Kind, ...] = ("pos", "id", "both")


def _mqt_detr() -> DeformableDetrConfig:
    """Returns the detector of §2.6.1: width 256, MLPs of 2048, 6 + 6 layers, 8 heads, 100 det queries, no classes."""
    return DeformableDetrConfig(mlp_width=2048, queries=100, classes=0, size_bias=0.0, loop_layers=True)


@dataclass(frozen=True)
class MqtConfig:
    """The architecture of an MQT.

    Attributes:
        detr: the detector; `queries` counts det queries, `classes` those of the class head (0: none), `two_stage` must
            be off.
        kinds: the semantic queries that a track has (Tables 2.5a, 2.9).
        detect: whether det queries run beside those of tracks. Off (the rows of Tables 2.5a and 2.9 without det), they
            run in no pass that has tracks: not in the second frame in training, and in tracking only where no track is
            kept, such as the first frame, since something must begin (§2.6.2, private). Beside tracks nothing then
            starts, recovers, replaces or branches off one; of its `Outputs` det has no rows.
        aggregation: of the kinds; see aggregation.py.
        box_kind, appearance_kind: for the heuristic (Table 2.10).
        isolate_det: whether det queries do not attend to the others, so that detections depend neither on tracks nor on
            given boxes, which in training are the (perturbed) truth. What they find beside others is then what they
            find alone, as where private tracking begins (§2.3.1, §2.6.3).
        point_size: the width and height, as fractions of the image, from which a query without a size starts; a
            published Deformable DETR has 0.5.
    """

    detr: DeformableDetrConfig = field(default_factory=_mqt_detr)
    kinds: tuple[Kind, ...] = KINDS
    detect: bool = True
    aggregation: Scheme = "gating"
    box_kind: Kind = "pos"
    appearance_kind: Kind = "id"
    isolate_det: bool = True
    point_size: float = 0.1

    def __post_init__(self) -> None:
        """Raises StoryjaxError where tracks have no queries at all."""
        if not self.kinds and not self.detect:
            raise StoryjaxError(
                "config.model.mqt: kinds is empty and detect is off, so nothing can follow a track; name a kind"
                f" ({', '.join(KINDS)}), or leave detect on"
            )


@struct.dataclass
class Tracks:
    """The outputs for tracks in the frame before, of which their queries are made. (On the host they are NumPy arrays.)

    Attributes:
        boxes: (b, m, 4), (cx, cy, w, h) normalised.
        appearance: (b, m, e), the output of the appearance head.
        state: (b, m, d), V.
        mask: (b, m) bool, which rows are tracks.
    """

    boxes: Any
    appearance: Any
    state: Any
    mask: Any


@struct.dataclass
class DecoderOutput:
    """The outputs of one pass of the decoder.

    Attributes:
        det, given: of det queries (k, b, n, ...) and of given boxes (k, b, r, ...), for every layer k; n is 0 in passes
            without det queries.
        kinds: of each track's queries (k, b, m, kinds, ...).
        tracks: (b, m, ...), the kinds of the last layer aggregated.
    """

    det: Outputs
    given: Outputs
    kinds: Outputs
    tracks: Outputs


@struct.dataclass
class EncodedImage:
    """Images after the encoder.

    Attributes:
        memory: the encoder's tokens (b, s, d).
        pyramid: their positions in the levels of features.
    """

    memory: Any
    pyramid: Pyramid


class Mqt(nn.Module):
    """The multi-query tracker's network: from images and queries to boxes and appearances.

    Attributes:
        config: the architecture.
        dtype: of activations.
    """

    config: MqtConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Makes the layers; their names are the parameter paths."""
        cfg, detr = self.config, self.config.detr
        if detr.two_stage:
            raise ValueError("an MQT's det queries are learnt: its detector has one stage")
        self.pyramid = FeaturePyramid(detr, self.dtype)
        self.encoder = Encoder(detr, self.dtype)
        self.decoder = Decoder(detr, self.dtype)
        normal, xavier = nn.initializers.normal(1.0), nn.initializers.xavier_uniform()
        self.queries = self.param("queries", normal, (detr.queries, 2 * detr.width))
        self.kind = self.param("kind", nn.initializers.normal(0.02), (len(KINDS), detr.width))
        self.reference = nn.Dense(2, kernel_init=xavier, dtype=jnp.float32)
        self.box_query = nn.Dense(detr.width, dtype=self.dtype)
        self.box_position = nn.Dense(detr.width, dtype=self.dtype)
        self.id_position = nn.Dense(detr.width, dtype=self.dtype)
        self.appearance = Head(detr.width, detr.width, last_init=xavier, dtype=self.dtype)
        self.nothing = self.param("nothing", normal, (detr.width,))
        self.nothing_scale = self.param("nothing_scale", nn.initializers.constant(math.log(5.0)), (1,))
        self.nothing_bias = self.param("nothing_bias", nn.initializers.zeros_init(), (1,))
        # Indices count only the kinds that are aggregated.
        index = {kind: i for i, kind in enumerate(cfg.kinds)}
        heuristic = index.get(cfg.box_kind, 0), index.get(cfg.appearance_kind, 0)
        self.aggregate = Aggregation(cfg.aggregation, *heuristic, dtype=self.dtype)
        if detr.classes:
            rare = nn.initializers.constant(-math.log(99.0))
            self.class_head = nn.Dense(detr.classes, bias_init=rare, dtype=jnp.float32)

    def encode(self, images: UInt8[Array, "b y x 3"] | PaddedImages, deterministic: bool = True) -> EncodedImage:
        """Returns the encoded images; their padding takes part in nothing."""
        if isinstance(images, PaddedImages):
            pixels = standardise(images.pixels, self.dtype)
            mask = images.mask
            # Zeros after normalisation, as DETR pads: the mean colour, not black.
            pyramid = self.pyramid(jnp.where(mask[..., None], pixels, 0), mask)
        else:
            pyramid = self.pyramid(standardise(images, self.dtype))
        return EncodedImage(self.encoder(pyramid, deterministic), pyramid)

    def __call__(
        self,
        images: UInt8[Array, "b y x 3"] | PaddedImages,
        given_boxes: Float[Array, "b r 4"] | None = None,
        given_mask: Bool[Array, "b r"] | None = None,
        tracks: Tracks | None = None,
        deterministic: bool = True,
    ) -> DecoderOutput:
        """Returns `decode` of `encode`; touches all other layers too, so that `init` makes their parameters."""
        output = self.decode(self.encode(images, deterministic), given_boxes, given_mask, tracks, deterministic)
        self.objectness(output.det.appearance)
        if self.config.detr.classes:
            self.class_logits(output.det.state)
        return output

    def decode(
        self,
        encoded: EncodedImage,
        given_boxes: Float[Array, "b r 4"] | None = None,
        given_mask: Bool[Array, "b r"] | None = None,
        tracks: Tracks | None = None,
        deterministic: bool = True,
        det: bool | None = None,
    ) -> DecoderOutput:
        """Returns the outputs of one pass of the decoder over all queries.

        Args:
            encoded: the encoded images.
            given_boxes, given_mask: boxes (cx, cy, w, h) for pos queries, and which are no padding: public detections
                (§2.6.2), or perturbed ground truth in training (§2.6.1).
            tracks: the tracks whose queries are added.
            deterministic: whether dropout is off.
            det: whether det queries run; None: as `config.detect` says.

        Padding has no influence on the other outputs.
        """
        cfg, batch = self.config, encoded.memory.shape[0]
        if given_boxes is None or given_mask is None:
            given_boxes, given_mask = jnp.zeros((batch, 0, 4)), jnp.zeros((batch, 0), bool)
        if tracks is None:
            empty = jnp.zeros((batch, 0, cfg.detr.width))
            tracks = Tracks(jnp.zeros((batch, 0, 4)), empty, empty, jnp.zeros((batch, 0), bool))
        # Queries that do not run are left out, not masked: nobody can use what they would give.
        if det is None:
            det = cfg.detect or tracks.mask.shape[1] == 0
        det_queries = cfg.detr.queries if det else 0
        parts = [
            self._det(batch, det_queries),
            (*self._pos(given_boxes), given_mask),
            *[(*self._semantic(kind, tracks), tracks.mask) for kind in cfg.kinds],
        ]
        content, position, reference, sized, mask = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        attend = jnp.broadcast_to(mask[:, None, None, :], (batch, 1, mask.shape[1], mask.shape[1]))
        if cfg.isolate_det:
            is_det = jnp.arange(mask.shape[1]) < det_queries
            attend &= ~is_det[None, None, :, None] | is_det[None, None, None, :]
        memory, pyramid = encoded.memory, encoded.pyramid
        decoded = self.decoder(content, position, reference, sized, memory, pyramid, attend, deterministic)
        outputs = Outputs(decoded.states, decoded.box_logits, self.appearance(decoded.states))
        ends = [det_queries, det_queries + given_boxes.shape[1]]
        detected, given, semantic = (
            Outputs(*part) for part in zip(*(jnp.split(array, ends, axis=2) for array in outputs), strict=True)
        )
        # (k, b, kinds * m, d) to (k, b, m, kinds, d)
        by_kind = (*semantic.state.shape[:2], len(cfg.kinds), tracks.mask.shape[1])
        kinds = Outputs(*(jnp.moveaxis(array.reshape(*by_kind, array.shape[-1]), 2, 3) for array in semantic))
        kind_mask = jnp.broadcast_to(tracks.mask[..., None], (*tracks.mask.shape, len(cfg.kinds)))
        last = Outputs(*(array[-1] for array in kinds))
        if not cfg.kinds:  # det queries alone (Table 2.5a): nothing to aggregate
            nothing = Outputs(*(jnp.zeros((*array.shape[:2], array.shape[-1])) for array in last))
            return DecoderOutput(detected, given, kinds, nothing)
        return DecoderOutput(detected, given, kinds, self.aggregate(last, kind_mask))

    def objectness(self, appearance: Float[Array, "*b e"]) -> Float[Array, "*b"]:
        """Returns the logit of an appearance being that of an object: its distance from the one of "no object"."""
        cosine = jnp.einsum("...e,e->...", unit_norm(appearance), unit_norm(self.nothing))
        return self.nothing_bias.reshape(()) - jnp.exp(self.nothing_scale.reshape(())) * cosine

    def class_logits(self, state: Float[Array, "*b d"]) -> Float[Array, "*b c"]:
        """Returns the logits of the class head, which must be there (`detr.classes`; Table 2.5c)."""
        return self.class_head(state)

    def _point_reference(self, position: Float[Array, "b q d"]) -> Float[Array, "b q 4"]:
        place = jax.nn.sigmoid(self.reference(position))
        return jnp.concatenate([place, jnp.full_like(place, self.config.point_size)], axis=-1)

    def _det(self, batch: int, count: int) -> tuple[Array, ...]:
        queries = jnp.broadcast_to(self.queries[None, :count], (batch, count, self.queries.shape[1]))
        position, content = jnp.split(queries, 2, axis=-1)
        lead = content.shape[:2]
        return content, position, self._point_reference(position), jnp.zeros(lead, bool), jnp.ones(lead, bool)

    def _box_position(self, boxes: Float[Array, "b q 4"]) -> Float[Array, "b q d"]:
        return self.box_position(sine_embedding(2 * math.pi * boxes, self.config.detr.width // 2))

    def _pos(self, boxes: Float[Array, "b q 4"]) -> tuple[Array, ...]:
        boxes = clip_to_image(boxes)
        content = nn.relu(self.box_query(boxes)) + self.kind[0][None, None]
        return content, self._box_position(boxes), boxes, jnp.ones(boxes.shape[:2], bool)

    def _semantic(self, kind: Kind, tracks: Tracks) -> tuple[Array, ...]:
        if kind == "pos":
            return self._pos(tracks.boxes)
        own = self.kind[KINDS.index(kind)][None, None]
        if kind == "both":
            boxes = clip_to_image(tracks.boxes)
            return tracks.state + own, self._box_position(boxes), boxes, jnp.ones(boxes.shape[:2], bool)
        content = unit_norm(tracks.appearance) * self.config.detr.width**0.5
        position = self.id_position(content)
        return content + own, position, self._point_reference(position), jnp.zeros(content.shape[:2], bool)
