"""Pre-training of π on ImageNet: f_v(x) against f_t("a photo of π(f_v(x))"), without captions (thesis §5.3.2)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import unflatten
from storyjax.data.images import Square, decode_image
from storyjax.data.pipeline import RandomAccess, Stream, eval_stream, train_stream
from storyjax.data.registry import prepare_split
from storyjax.data.streams import StreamSpec
from storyjax.pi_map.config import TRAINABLE, check_text_length, clip_square, frozen_parameters, make_model
from storyjax.pi_map.losses import symmetric_cross_entropy
from storyjax.pi_map.model import conditioning_start, embed_in_batches
from storyjax.pi_map.prompts import PromptEncoder
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task, summing_evaluator


@dataclass(frozen=True)
class PretrainData:
    """`config.data` of the pre-training; the common keys are explained in storyjax/data/registry.py.

    Attributes:
        dataset: what π is trained on.
        root: the folder of its official files.
        cache_dir: where the prepared records go, or where TFDS has put them.
        train_split: of the data set.
        eval_splits: the results of "validation" are named "imagenet", those of another split "imagenet_split".
        synthetic: the exporter's arguments; None for the real data set.
        prompt: the prompt of a token; also the caption of the images that the conditioning vectors start from.
        start_images: images that the conditioning vectors start from.
        text_length: tokens of the prompt.
        max_broken_fraction: of the records that may be unusable.
        workers: processes that load data; 0: threads of this one.
    """

    dataset: Literal["imagenet"] = "imagenet"
    root: str = "data/imagenet"
    cache_dir: str = "data/prepared"
    train_split: str = "train"
    eval_splits: tuple[str, ...] = ("validation",)
    synthetic: dict[str, Any] | None = None
    prompt: str = "a photo of *"
    start_images: int = 256
    text_length: int = 77
    max_broken_fraction: float = 0.05
    workers: int = 0


def _load(record: Mapping[str, Any], rng: np.random.Generator, square: Square) -> Batch:
    del rng
    return {"image": square(decode_image(record["image"], record["file_name"]))}


class _Pretraining:
    """The parts of the experiment of a config; data are prepared when they are first needed."""

    def __init__(self, config: ConfigDict):
        self.data = from_config(PretrainData, config.data, "config.data")
        self.model, self.section = make_model(config.model, config.precision)
        check_text_length(self.model, self.data.text_length)
        self.prompts = PromptEncoder(self.section.clip, self.section.clip.family)
        self.load = functools.partial(_load, square=clip_square(self.model.config))
        self.from_scratch = config.init.checkpoint is None

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The frozen CLIP's parameters."""
        return frozen_parameters(self.section.clip)

    @functools.cache  # noqa: B019 (one for each experiment, and as long-lived)
    def records(self, split: str) -> RandomAccess:
        """Returns a split of the data set; errors as of `prepare_split`."""
        data = self.data
        return prepare_split(data.dataset, data.root, data.cache_dir, split, synthetic=data.synthetic)

    def prepare(self) -> dict[str, int]:
        """Returns how many images each split has, prepared."""
        data = self.data
        names = dict.fromkeys((data.train_split, *data.eval_splits))
        return {f"{data.dataset}:{name}": len(self.records(name)) for name in names}

    def train_data(self, spec: StreamSpec) -> Stream:
        """Returns the stream of training images."""
        data, _ = self.data, self.prompts.tokenizer  # an error now, rather than a prompt of zeros
        records = self.records(data.train_split)
        return train_stream(
            records, self.load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    def eval_data(self, split: str, spec: StreamSpec) -> Stream:
        """Returns the images of an evaluation split once."""
        data, _ = self.data, self.prompts.tokenizer  # as in `train_data`
        return eval_stream(
            self.records(split), self.load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    def batch_spec(self) -> BatchSpec:
        """Returns what `storyjax plan` needs to know of a batch."""
        side = self.model.config.vision.image_size
        return BatchSpec.of_rows({"image": ((side, side, 3), np.uint8), "record_valid": ((), np.bool_)})

    def embed(self, params: Params, batch: Batch) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """Returns the embeddings of images, and of the prompt with the token of each."""
        images = self.model.embed_images(params, batch["image"])
        ids, slots = self.prompts.encode_fixed(self.data.prompt, self.data.text_length)
        return images, self.model.embed_prompt(params, self.model.tokens(params, images), ids, slots)

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the loss, and {"r1": R@1 of the batch's images}."""
        del key
        value, r1 = symmetric_cross_entropy(*self.embed(params, batch), self.section.loss.temperature)
        return value, {"r1": r1}

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums over the batch's records: hits within the batch, cosines with the own prompt, and records."""
        valid = batch["record_valid"].astype(np.float32)
        images, texts = self.embed(params, batch)
        best = (images @ texts.T).argmax(axis=1) == np.arange(images.shape[0])
        return {"found": (valid * best).sum(), "cosine": (valid * (images * texts).sum(axis=1)).sum(), "n": valid.sum()}

    def evaluator(self, split: str) -> Evaluator:
        """Returns the evaluator of a split: R@1 within a batch, and the mean cosine of an image with its own prompt."""
        name = self.data.dataset if split == "validation" else f"{self.data.dataset}_{split}"
        return summing_evaluator(
            name,
            functools.partial(self.eval_data, split),
            self.eval_step,
            lambda sums: {
                f"{name}/r1_in_batch": float(sums["found"] / sums["n"]),
                f"{name}/cosine": float(sums["cosine"] / sums["n"]),
            },
            batch_spec=self.batch_spec(),
        )

    def pretrained(self) -> dict[str, np.ndarray]:
        """Returns the frozen CLIP, and if π starts by the scheme of §5.3.5 (init_scheme), its conditioning vectors."""
        if not self.section.init_scheme or not self.from_scratch:
            return self.weights
        data, params = self.data, unflatten(dict(self.weights))
        source = self.records(data.train_split)
        step = max(1, len(source) // data.start_images)
        chosen = [source[i] for i in range(0, len(source), step)][: data.start_images]
        pixels = np.stack([self.load(record, np.random.default_rng(0))["image"] for record in chosen])
        images = embed_in_batches(lambda part: jax.jit(self.model.embed_images)(params, part), pixels)
        caption = self.prompts.encode(data.prompt.replace("*", "a thing"), data.text_length)[0][None]
        text = np.asarray(jax.jit(self.model.embed_texts)(params, caption))
        starts = conditioning_start(images, np.repeat(text, len(images), axis=0))
        return {**self.weights, **{f"pi/condition_{layer}": vector for layer, vector in enumerate(starts)}}


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/pi_map_imagenet.py`.

    Raises:
        StoryjaxError: an unknown key or architecture.
    """
    parts = _Pretraining(config)
    return Experiment(
        name="pi_map.pretrain",
        init=parts.model.init,
        pretrained=parts.pretrained,
        trainable=TRAINABLE,
        tasks=(Task("imagenet", parts.train_data, parts.loss, batch_spec=parts.batch_spec()),),
        evaluators=tuple(parts.evaluator(split) for split in parts.data.eval_splits),
        units="images",
        steps_per_epoch=lambda: max(1, len(parts.records(parts.data.train_split)) // config.train.batch_size),
        prepare=parts.prepare,
    )
