"""Collections of particular objects, embedded once by the frozen CLIP: templates, image queries, and pools.

A collection is what this-is-my and DeepFashion2 have in common: records that show an object, in a video or an image,
some to learn from and some to be found, a few of these with a caption in which "*" stands for the object.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.data.images import Square, decode_image
from storyjax.data.pipeline import RandomAccess
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.metrics.retrieval import Scores
from storyjax.pi_map.localise import Box, Detector, Pointing, as_box, box_at, mark

Embed = Callable[[UInt8[np.ndarray, "n y x 3"]], Float[np.ndarray, "n d"]]


@dataclass(frozen=True)
class CollectionConfig:
    """How a collection is learned from and queried.

    Attributes:
        templates: records of each object that are learned from; None: all but the held-out ones.
        held_out: training records of each object that image queries are made of instead (§5.4.1).
        frames: frames of a video template, evenly spaced, whose embeddings are averaged (§5.3.5).
        query_frames: frames, drawn from the held-out records, that make an image query (§5.4.1).
        localise: where boxes come from: "data" (those of the data set), "none" (no localisation), a .json file of
            boxes, or the folder of a GroundingDINO.
        point: how the object is marked: by a red "ellipse" (§5.3.1), or by a "crop" of the image to it.
        captions: dense captions y*: "none", "data" (the data set's captions.json), a .json file, or a language model.
        prompt: the prompt of a token in training (§5.3.2).
        generic: the generic query (§5.4.1).
        context: the query for an object in a context; {caption} is the data set's.
        also_eval: whether to learn from the split "eval" too, as for the published numbers (§5.4.1).
        text_length: tokens of a prompt.
    """

    templates: int | None = None
    held_out: int = 1
    frames: int = 10
    query_frames: int = 5
    localise: str = "data"
    point: Pointing = "ellipse"
    captions: str = "data"
    prompt: str = "a photo of *"
    generic: str = "an image of *"
    context: str = "{caption}"
    also_eval: bool = False
    text_length: int = 77


@dataclass(frozen=True)
class PersonalObject:
    """An object: the owner's name for it ("my dog Chia"), and its category ("dog")."""

    name: str
    category: str


@dataclass(frozen=True)
class Templates:
    """The training data: f_v(x) and f_v(x_loc) of each template and the number of its object."""

    whole: Float[np.ndarray, "n d"]
    local: Float[np.ndarray, "n d"]
    objects: np.ndarray

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        i = int(index)
        return {"whole": self.whole[i], "local": self.local[i], "object": np.int32(self.objects[i])}


@dataclass(frozen=True)
class Context:
    """A context query: the number of the object, a caption with "*" for it, and the positions of the right records."""

    object: int
    caption: str
    records: tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """What is searched.

    Attributes:
        frames, mask: of every record, one frame per second, padded.
        objects: the number of the object that each record shows; -1 for others.
        contexts: the context queries.
    """

    frames: Float[np.ndarray, "n t d"]
    mask: Bool[np.ndarray, "n t"]
    objects: np.ndarray
    contexts: tuple[Context, ...]

    def scores(self, queries: Float[np.ndarray, "q d"]) -> Scores:
        """Returns the maximum over each record's frames of the cosine with each query, (q, n) (§5.4.1)."""
        cosines = np.einsum("qd,ntd->qnt", queries, self.frames)
        return np.where(self.mask[None], cosines, -np.inf).max(axis=2)


@dataclass(frozen=True)
class Collection:
    """An embedded data set.

    Attributes:
        objects: by number.
        templates: to learn from.
        queries_whole, queries_local: averaged f_v(x) and f_v(x_loc) of each object's image query.
        pools: by split.
    """

    objects: tuple[PersonalObject, ...]
    templates: Templates
    queries_whole: Float[np.ndarray, "o d"]
    queries_local: Float[np.ndarray, "o d"]
    pools: Mapping[str, Pool] = field(default_factory=dict)


def unit(x: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "... d"]:
    """Returns vectors of unit length, float32."""
    return unit_norm(x).astype(np.float32)


def record_name(record: Mapping[str, Any]) -> str:
    """Returns the name of a record's segment or image."""
    return str(record.get("segment_id") or record["image_name"])


def record_frames(
    record: Mapping[str, Any], count: int | None
) -> tuple[Sequence[UInt8[np.ndarray, "y x 3"]], Float[np.ndarray, " t"]]:
    """Returns `count` evenly spaced frames of a record (None: one per second), and each one's position from 0 to 1.

    An image has one frame.

    Raises:
        StoryjaxError: the image or video cannot be decoded.
    """
    if "image" in record:
        return [decode_image(record["image"], record_name(record))], np.zeros(1)
    name = f"segment {record_name(record)}"
    duration = probe(record["video"], name).duration_s
    times = sample_times(duration, count) if count else np.arange(0, max(duration, 1e-3), 1.0)
    frames, _ = decode_frames(record["video"], times, None, name)
    return list(frames), times / max(duration, 1e-3)


def locate(
    record: Mapping[str, Any],
    frames: Sequence[UInt8[np.ndarray, "y x 3"]],
    positions: Float[np.ndarray, " t"],
    localise: Detector | Literal["data"] | None,
    point: Pointing,
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Returns the frames with the object marked, where a box is known (x_loc); crops differ in size."""
    if localise is None:
        return list(frames)
    marked = []
    for frame, position in zip(frames, positions, strict=True):
        if localise == "data":
            box: Box | None = box_at([as_box(row) for row in record["boxes"]], float(position))
        else:
            box = localise.detect(frame, record["category"], record_name(record), float(position))
        marked.append(mark(frame, box, point))
    return marked


def embed_collection(
    splits: Mapping[str, RandomAccess],
    learned: Iterable[str],
    pools: Iterable[str],
    config: CollectionConfig,
    embed: Embed,
    square: Square,
    localise: Detector | Literal["data"] | None,
    seed: int,
) -> Collection:
    """Returns a data set, embedded.

    Args:
        splits: records by split.
        learned: the splits that are learned from.
        pools: the splits to be searched.
        embed: f_v of images as `square` makes them.
        square: makes the squares that CLIP takes.
        localise: where boxes come from; None for no localisation.
        seed: chooses the records that are templates and the frames of image queries.

    Raises:
        StoryjaxError: an object has too few training records to leave any to learn from.
    """
    records = [splits[name][i] for name in learned for i in range(len(splits[name]))]
    objects = _objects(records)
    by_object: dict[int, list[Mapping[str, Any]]] = {number: [] for number in range(len(objects))}
    for record in records:
        by_object[int(record["instance"])].append(record)
    rng = np.random.default_rng([seed, 0x71])
    whole, local, numbers, queries = [], [], [], []
    for number, shown in by_object.items():
        order = [shown[i] for i in rng.permutation(len(shown))]
        held, kept = _divide(order, config, objects[number].name)
        for record in kept:
            frames, positions = record_frames(record, config.frames)
            local_frames = locate(record, frames, positions, localise, config.point)
            both = embed(np.stack([square(frame) for frame in [*frames, *local_frames]]))
            whole.append(both[: len(frames)].mean(axis=0))
            local.append(both[len(frames) :].mean(axis=0))
            numbers.append(number)
        queries.append(_image_query(held, config, embed, square, localise, rng))
    return Collection(
        objects,
        Templates(unit(np.stack(whole)), unit(np.stack(local)), np.array(numbers, np.int32)),
        unit(np.stack([query[0] for query in queries])),
        unit(np.stack([query[1] for query in queries])),
        {name: embed_pool(splits[name], embed, square) for name in pools},
    )


def _objects(records: Sequence[Mapping[str, Any]]) -> tuple[PersonalObject, ...]:
    found = {int(record["instance"]): PersonalObject(record["name"], record["category"]) for record in records}
    if sorted(found) != list(range(len(found))):
        raise StoryjaxError(
            "some objects of the data set have no training records that can be read; download them again"
        )
    return tuple(found[number] for number in range(len(found)))


def _divide(records: list[Any], config: CollectionConfig, name: str) -> tuple[list[Any], list[Any]]:
    """(held out, templates). An object with a single record has it as template and as image query."""
    held_out = min(config.held_out, len(records) - 1)
    held, rest = records[:held_out], records[held_out:]
    kept = rest[: config.templates]
    if not kept:
        raise StoryjaxError(f"config.data.templates is {config.templates}: '{name}' would have nothing to learn from")
    return held or kept, kept


def _image_query(
    records: list[Any],
    config: CollectionConfig,
    embed: Embed,
    square: Square,
    localise: Detector | Literal["data"] | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean f_v of frames drawn from the held-out records, as they are and with the object marked."""
    plain: list[np.ndarray] = []
    marked: list[np.ndarray] = []
    for record in records:
        frames, positions = record_frames(record, config.frames)
        plain.extend(frames)
        marked.extend(locate(record, frames, positions, localise, config.point))
    drawn = rng.permutation(len(plain))[: config.query_frames]
    images = [square(source[i]) for source in (plain, marked) for i in drawn]
    embedded = embed(np.stack(images))
    return embedded[: len(drawn)].mean(axis=0), embedded[len(drawn) :].mean(axis=0)


def embed_pool(
    records: RandomAccess,
    embed: Embed,
    square: Square,
    number: Callable[[Mapping[str, Any]], int] = lambda record: int(record["instance"]),
) -> Pool:
    """Returns the pool of all records.

    Args:
        embed: f_v of images as `square` makes them.
        square: makes the squares that CLIP takes.
        number: a record -> the number of the object that it shows, -1 for none that is learned.
    """
    images: list[np.ndarray] = []
    counts: list[int] = []
    objects: list[int] = []
    contexts: dict[Any, Context] = {}
    for record in (records[i] for i in range(len(records))):
        frames, _ = record_frames(record, None)
        images.extend(square(frame) for frame in frames)
        position = len(counts)
        counts.append(len(frames))
        objects.append(number(record))
        # A caption is of its record alone; contexts are of all records that have the same.
        if record["caption"] and objects[-1] >= 0:
            contexts[position] = Context(objects[-1], record["caption"], (position,))
        for key in dict.fromkeys(record.get("contexts", ())):
            earlier = contexts[key].records if key in contexts else ()
            contexts[key] = Context(key[0], key[1], (*earlier, position))
    embedded = embed(np.stack(images))
    longest = max(counts)
    padded = np.zeros((len(counts), longest, embedded.shape[1]), np.float32)
    mask = np.arange(longest)[None] < np.array(counts)[:, None]
    padded[mask] = embedded
    return Pool(padded, mask, np.array(objects), tuple(contexts.values()))
