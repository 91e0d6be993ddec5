"""A small face encoder of StoryWorld: an SE-ResNet that learns to tell people apart by classifying them.

As VGGFace2's networks were (Cao et al. 2018): softmax over the people of training. Descriptions are of unit length, and
are compared by their angle. It is measured on people whom it has never seen: whether the photo nearest to one of
somebody is another of the same person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from PIL import Image

from storyjax.core.config import from_config
from storyjax.data.builders.media import MediaSource, prepare
from storyjax.data.builders.vggface import VGGFace2
from storyjax.data.images import decode_image
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.models.clip import unit_norm
from storyjax.models.seresnet import SEResNet, SEResNetConfig, centre
from storyjax.storyworld.export.celebrities import export_vggface2
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task

_SCALE = 16.0  # of the cosines before the softmax


@dataclass(frozen=True)
class FaceData:
    """Photographs in VGGFace2's layout.

    Attributes:
        manual_dir, data_dir: the official files, and where the prepared records go.
        storyworld: how large a StoryWorld is to be written into manual_dir; None for real data.
        people: classes; those of the split "train", or more.
    """

    manual_dir: str = "runs/storyworld/vggface2"
    data_dir: str = "runs/storyworld/prepared"
    storyworld: dict[str, int] | None = None
    people: int = 100
    workers: int = 0


class FaceClassifier:
    """The encoder under "face", and a direction for each person under "people"."""

    def __init__(self, config: SEResNetConfig, people: int):
        self.config, self.encoder = config, SEResNet(config)
        self.people = nn.Dense(people, use_bias=False)

    def init(self, key: jax.Array) -> Params:
        side, width = self.config.image_size, self.config.embedding_dim
        keys = jax.random.split(key)
        return {
            "face": self.encoder.init(keys[0], jnp.zeros((1, side, side, 3)))["params"],
            "people": self.people.init(keys[1], jnp.zeros((1, width)))["params"],
        }

    def describe(self, params: Params, batch: Batch) -> Float[Array, "b e"]:
        return unit_norm(self.encoder.apply({"params": params["face"]}, centre(batch["faces"], self.config)))

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Cross-entropy of who is in the photo."""
        del key
        directions = unit_norm(params["people"]["kernel"].T)
        logits = _SCALE * jnp.einsum("be,pe->bp", self.describe(params, batch), directions)
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["person"][:, None], axis=1)
        right = jnp.argmax(logits, axis=1) == batch["person"]
        return nll.mean(), {"acc": right.astype(jnp.float32).mean()}


def _identities(source: MediaSource) -> list[int]:
    names = sorted({row["identity"] for row in source.labels})
    number = {name: index for index, name in enumerate(names)}
    return [number[row["identity"]] for row in source.labels]


def same_person_nearest(descriptions: np.ndarray, person: np.ndarray) -> float:
    """The share of photos whose nearest other photo shows the same person."""
    similarity = descriptions @ descriptions.T
    np.fill_diagonal(similarity, -np.inf)
    return float((person[similarity.argmax(axis=1)] == person).mean())


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/storyworld_faces.py`."""
    data = from_config(FaceData, config.data, "config.data")
    shape = from_config(SEResNetConfig, config.model, "config.model")
    classifier = FaceClassifier(shape, data.people)
    sources: dict[str, tuple[MediaSource, list[int]]] = {}

    def source(split: str) -> tuple[MediaSource, list[int]]:
        if split not in sources:
            if data.storyworld is not None:
                export_vggface2(data.manual_dir, **data.storyworld)
            made = prepare(VGGFace2, data.manual_dir, data.data_dir, split)
            sources[split] = made, _identities(made)
        return sources[split]

    def loader(split: str) -> Callable[[int, np.random.Generator], Batch]:
        records, person = source(split)

        def load(index: int, rng: np.random.Generator) -> Batch:
            item = records[index]
            image = Image.fromarray(decode_image(item["media"], item["path"]))
            resized = image.resize((shape.image_size, shape.image_size), Image.Resampling.BICUBIC)
            return {"faces": np.asarray(resized), "person": np.int32(person[index])}

        return load

    def accumulate(acc: Any, measured: Any, batch: Batch) -> Any:
        valid = np.asarray(batch["record_valid"])
        rows = [(np.asarray(measured)[valid], np.asarray(batch["person"])[valid])]
        return rows if acc is None else acc + rows

    def finish(rows: Any) -> dict[str, float]:
        descriptions, people = (np.concatenate(part) for part in zip(*rows, strict=True))
        return {"faces/unseen_nearest": same_person_nearest(descriptions, people)}

    def count(split: str) -> range:
        return range(len(source(split)[0]))

    return Experiment(
        name="embedded.face_encoder",
        init=classifier.init,
        trainable=".*",
        tasks=(
            Task(
                "people",
                lambda s: train_stream(count("train"), loader("train"), s, workers=data.workers),
                classifier.loss,
            ),
        ),
        evaluators=(
            Evaluator(
                "unseen people",
                lambda s: eval_stream(count("test"), loader("test"), s),
                classifier.describe,
                accumulate,
                finish,
            ),
        ),
        units="photos",
        steps_per_epoch=lambda: len(source("train")[0]) // config.train.batch_size,
    )
