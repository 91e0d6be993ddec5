"""Collections of particular objects, embedded once by the frozen CLIP: templates to learn from, queries, and pools.

A collection is what this-is-my and DeepFashion2 have in common: records that show an object, in a video or an image,
some to learn from and some to be found, a few of these with a caption in which "*" stands for the object.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import decode_image
from storyjax.data.pipeline import RandomAccess
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.metrics.retrieval import Scores
from storyjax.pi_map.captions import Captioner
from storyjax.pi_map.localise import Detector, Pointing, box_at, point_out

Embed = Callable[[UInt8[np.ndarray, "n y x 3"]], Float[np.ndarray, "n d"]]


@dataclass(frozen=True)
class CollectionConfig:
    """
    Attributes:
        templates: records of each object that are learnt from; None: all but the held-out ones.
        held_out: training records of each object that are kept to make image queries of (§5.4.1).
        frames: frames of a video template, evenly spaced, whose embeddings are averaged (§5.3.5).
        query_frames: frames, drawn from the held-out records, that make an image query (§5.4.1).
        localise: where boxes come from: "data" (those of the data set), "none" (no ellipse), a .json file of boxes, or
            the folder of a GroundingDINO.
        point: how the object is pointed out: by a red "ellipse" (§5.3.1), or by a "crop" of the picture to it.
        captions: dense captions y*: "none", "data" (the data set's captions.json), a .json file, or a language model.
        prompt: what is said around a token in training (§5.3.2).
        generic: the generic query (§5.4.1).
        context: the query that asks for an object in a context; {caption} is the data set's.
        also_eval: whether to learn from the evaluation split too, as for the published numbers (§5.4.1).
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
class Named:
    """An object: what its owner calls it, and its kind."""

    name: str
    category: str


@dataclass(frozen=True)
class Templates:
    """What is learnt from: f_v(x) and f_v(x_loc) of each template and the number of its object."""

    whole: Float[np.ndarray, "n d"]
    local: Float[np.ndarray, "n d"]
    objects: np.ndarray

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        i = int(index)
        return {"whole": self.whole[i], "local": self.local[i], "object": np.int32(self.objects[i])}


@dataclass(frozen=True)
class Pool:
    """What is searched: the frames of every record at one a second, padded; which object it shows, and its caption."""

    frames: Float[np.ndarray, "n t d"]
    mask: Bool[np.ndarray, "n t"]
    objects: np.ndarray
    captions: tuple[str, ...]

    def scores(self, queries: Float[np.ndarray, "q d"]) -> Scores:
        """The maximum over a record's frames of the cosine with each query (§5.4.1)."""
        cosines = np.einsum("qd,ntd->qnt", queries, self.frames)
        return np.where(self.mask[None], cosines, -np.inf).max(axis=2)


@dataclass(frozen=True)
class Collection:
    """A data set, embedded. `queries_whole` and `queries_local` are the averaged embeddings of image queries."""

    objects: tuple[Named, ...]
    templates: Templates
    queries_whole: Float[np.ndarray, "o d"]
    queries_local: Float[np.ndarray, "o d"]
    pools: Mapping[str, Pool] = field(default_factory=dict)


def unit(x: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "... d"]:
    return (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def resize(image: UInt8[np.ndarray, "y x 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def record_name(record: Mapping[str, Any]) -> str:
    return str(record.get("segment_id") or record["image_name"])


def record_frames(
    record: Mapping[str, Any], count: int | None
) -> tuple[Sequence[UInt8[np.ndarray, "y x 3"]], Float[np.ndarray, " t"]]:
    """`count` evenly spaced frames of a record (None: one a second), and where each stands in it, from 0 to 1.

    An image has one frame.
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
    shares: Float[np.ndarray, " t"],
    localise: Detector | Literal["data"] | None,
    point: Pointing,
) -> list[UInt8[np.ndarray, "y x 3"]]:
    """The frames with the object pointed out, where a box is known (x_loc)."""
    if localise is None:
        return list(frames)
    shown = []
    for frame, share in zip(frames, shares, strict=True):
        if localise == "data":
            box = box_at([tuple(map(float, row)) for row in record["boxes"]], float(share))
        else:
            box = localise.detect(frame, record["category"], record_name(record), float(share))
        shown.append(point_out(frame, box, point))
    return shown


def embed_collection(
    splits: Mapping[str, RandomAccess],
    pools: Iterable[str],
    config: CollectionConfig,
    embed: Embed,
    size: int,
    localise: Detector | Literal["data"] | None,
    seed: int,
) -> Collection:
    """Embeds a data set's records.

    Args:
        splits: records by split; "train" is learnt from ("eval" too if the config says so).
        pools: the splits to be searched.
        embed: f_v of images of `size` pixels.
        seed: of which records are templates and which frames make image queries.

    Raises:
        StoryjaxError: an object has too few training records to leave any to learn from.
    """
    if config.also_eval and "eval" not in splits:
        raise StoryjaxError("config.data.also_eval: this data set has no evaluation split; set it to False")
    sources = [splits["train"], splits["eval"]] if config.also_eval else [splits["train"]]
    learnt = [source[i] for source in sources for i in range(len(source))]
    objects = _objects(learnt)
    by_object: dict[int, list[Mapping[str, Any]]] = {number: [] for number in range(len(objects))}
    for record in learnt:
        by_object[int(record["instance"])].append(record)
    rng = np.random.default_rng([seed, 0x71])
    whole, local, numbers, queries = [], [], [], []
    for number, records in by_object.items():
        order = [records[i] for i in rng.permutation(len(records))]
        held, kept = _divide(order, config, objects[number].name)
        for record in kept:
            frames, shares = record_frames(record, config.frames)
            local_frames = locate(record, frames, shares, localise, config.point)
            both = embed(np.stack([resize(frame, size) for frame in [*frames, *local_frames]]))
            whole.append(both[: len(frames)].mean(axis=0))
            local.append(both[len(frames) :].mean(axis=0))
            numbers.append(number)
        queries.append(_image_query(held, config, embed, size, localise, rng))
    return Collection(
        objects,
        Templates(unit(np.stack(whole)), unit(np.stack(local)), np.array(numbers, np.int32)),
        unit(np.stack([query[0] for query in queries])),
        unit(np.stack([query[1] for query in queries])),
        {name: embed_pool(splits[name], embed, size) for name in pools},
    )


def _objects(records: Sequence[Mapping[str, Any]]) -> tuple[Named, ...]:
    found = {int(record["instance"]): Named(record["name"], record["category"]) for record in records}
    if sorted(found) != list(range(len(found))):
        raise StoryjaxError("some objects of the data set have no training records that can be read; get them anew")
    return tuple(found[number] for number in range(len(found)))


def _divide(records: list[Any], config: CollectionConfig, name: str) -> tuple[list[Any], list[Any]]:
    """(held out, learnt from). An object with a single record learns from it and is asked for with it."""
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
    size: int,
    localise: Detector | Literal["data"] | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean f_v of frames drawn from the held-out records, as they are and with the object pointed out."""
    plain, pointed = [], []
    for record in records:
        frames, shares = record_frames(record, config.frames)
        plain.extend(frames)
        pointed.extend(locate(record, frames, shares, localise, config.point))
    drawn = rng.permutation(len(plain))[: config.query_frames]
    pictures = [resize(source[i], size) for source in (plain, pointed) for i in drawn]
    embedded = embed(np.stack(pictures))
    return embedded[: len(drawn)].mean(axis=0), embedded[len(drawn) :].mean(axis=0)


def embed_pool(
    records: RandomAccess,
    embed: Embed,
    size: int,
    number: Callable[[Mapping[str, Any]], int] = lambda record: int(record["instance"]),
) -> Pool:
    """Every record's frames at one a second; `number` says which object a record shows, -1 for none that is learnt."""
    pictures, counts, objects, captions = [], [], [], []
    for record in (records[i] for i in range(len(records))):
        frames, _ = record_frames(record, None)
        pictures.extend(resize(frame, size) for frame in frames)
        counts.append(len(frames))
        objects.append(number(record))
        captions.append(record["caption"])
    embedded = embed(np.stack(pictures))
    longest = max(counts)
    padded = np.zeros((len(counts), longest, embedded.shape[1]), np.float32)
    mask = np.arange(longest)[None] < np.array(counts)[:, None]
    padded[mask] = embedded
    return Pool(padded, mask, np.array(objects), tuple(captions))


def prompts(thing: Named, captioner: Captioner | None, config: CollectionConfig) -> tuple[str, str, str]:
    """(y*, y_s, y_g): the dense caption, the caption with the object's name, and the one with its kind (§5.3.2).

    Without a captioner y* is y_s (Table 5.1b, "w/o Caption Augmentation").
    """
    specific = config.prompt.replace("*", thing.name)
    dense = specific if captioner is None else captioner.describe(thing.name, thing.category)
    return dense, specific, config.prompt.replace("*", f"a {thing.category}")
