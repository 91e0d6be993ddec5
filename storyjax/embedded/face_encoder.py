"""A small face encoder of StoryWorld: an SE-ResNet trained by classifying people.

As VGGFace2's networks (Cao et al. 2018): softmax over the people of the training set. Embeddings are of unit length and
compared by their cosine. It is evaluated on people who are not in the training set: whether the nearest other photo of
each photo shows the same person.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict
from PIL import Image

from storyjax.core.arrays import unit_norm
from storyjax.core.config import from_config
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import decode_image
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.registry import prepare_split
from storyjax.data.streams import StreamSpec
from storyjax.models.seresnet import SEResNet, SEResNetConfig, centre
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task

_SCALE = 16.0  # of the cosines before the softmax


@dataclass(frozen=True)
class FaceData:
    """Photographs in VGGFace2's layout (storyjax/data/registry.py).

    Attributes:
        root: folder of the official files.
        cache_dir: folder of the prepared records.
        synthetic: arguments of the exporter that first writes a StoryWorld into `root`; None for real data.
        people: number of classes, at least that of the people in the split "train".
        workers: processes that load data.
    """

    root: str = "runs/storyworld/vggface2"
    cache_dir: str = "runs/storyworld/prepared"
    synthetic: dict[str, int] | None = None
    people: int = 100
    workers: int = 0


class FaceClassifier:
    """The encoder, with parameters under "face", and a linear classifier under "people"."""

    def __init__(self, config: SEResNetConfig, people: int):
        self.config, self.encoder = config, SEResNet(config)
        self.people = nn.Dense(people, use_bias=False)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        side, width = self.config.image_size, self.config.embedding_dim
        keys = jax.random.split(key)
        return {
            "face": self.encoder.init(keys[0], jnp.zeros((1, side, side, 3)))["params"],
            "people": self.people.init(keys[1], jnp.zeros((1, width)))["params"],
        }

    def embed(self, params: Params, batch: Batch) -> Float[Array, "b e"]:
        """Returns embeddings of unit length of the faces of a batch."""
        embeddings: Any = self.encoder.apply({"params": params["face"]}, centre(batch["faces"], self.config))
        return unit_norm(embeddings)

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the cross-entropy of the person in the photo, and the accuracy."""
        del key
        directions = unit_norm(params["people"]["kernel"].T)
        logits = _SCALE * jnp.einsum("be,pe->bp", self.embed(params, batch), directions)
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["person"][:, None], axis=1)
        right = jnp.argmax(logits, axis=1) == batch["person"]
        return nll.mean(), {"acc": right.astype(jnp.float32).mean()}


def _person_numbers(source: MediaSource) -> list[int]:
    names = sorted({row["identity"] for row in source.labels})
    number = {name: index for index, name in enumerate(names)}
    return [number[row["identity"]] for row in source.labels]


def same_person_nearest(embeddings: Float[np.ndarray, "n e"], person: Int[np.ndarray, " n"]) -> float:
    """Returns the fraction of photos whose nearest other photo shows the same person."""
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    return float((person[similarity.argmax(axis=1)] == person).mean())


class FacePhotos:
    """The photos of each split, prepared when they are first asked for."""

    def __init__(self, data: FaceData, image_size: int):
        self.data, self.image_size = data, image_size
        self.split = functools.cache(self._prepare)

    def _prepare(self, split: str) -> tuple[MediaSource, list[int]]:
        data = self.data
        source = prepare_split("vggface2", data.root, data.cache_dir, split, synthetic=data.synthetic)
        return source, _person_numbers(source)

    def count(self, split: str) -> int:
        """Returns the number of photos of a split."""
        return len(self.split(split)[0])

    def loader(self, split: str) -> Callable[[int, np.random.Generator], Batch]:
        """Returns a function of a photo's index to its resized pixels and its person's number."""
        records, person = self.split(split)

        def load(index: int, rng: np.random.Generator) -> Batch:
            del rng
            item = records[index]
            image = Image.fromarray(decode_image(item["media"], item["path"]))
            resized = image.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
            return {"faces": np.asarray(resized), "person": np.int32(person[index])}

        return load


def _accumulate(rows: Any, measured: Any, batch: Batch) -> Any:
    """Adds the embeddings and people of a batch's real rows."""
    valid = np.asarray(batch["record_valid"])
    return [*(rows or []), (np.asarray(measured)[valid], np.asarray(batch["person"])[valid])]


def _compute(rows: Any) -> dict[str, float]:
    embeddings, people = (np.concatenate(part) for part in zip(*rows, strict=True))
    return {"faces/unseen_nearest": same_person_nearest(embeddings, people)}


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/storyworld_faces.py`."""
    data = from_config(FaceData, config.data, "config.data")
    sizes = from_config(SEResNetConfig, config.model, "config.model")
    classifier, photos = FaceClassifier(sizes, data.people), FacePhotos(data, sizes.image_size)

    def train(spec: StreamSpec) -> Stream:
        return train_stream(range(photos.count("train")), photos.loader("train"), spec, workers=data.workers)

    def test(spec: StreamSpec) -> Stream:
        return eval_stream(range(photos.count("test")), photos.loader("test"), spec)

    return Experiment(
        name="embedded.face_encoder",
        init=classifier.init,
        trainable=".*",
        tasks=(Task("people", train, classifier.loss),),
        evaluators=(Evaluator("unseen people", test, classifier.embed, _accumulate, _compute),),
        units="photos",
        steps_per_epoch=lambda: photos.count("train") // config.train.batch_size,
    )
