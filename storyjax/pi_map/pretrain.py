"""Pre-training of π on ImageNet: f_v(x) against f_t("a photo of π(f_v(x))"), no words but these (thesis §5.3.2)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import unflatten
from storyjax.data.builders.imagenet import ImagenetSource, prepare
from storyjax.data.images import decode_image
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.pi_map.config import make_model
from storyjax.pi_map.data import resize
from storyjax.pi_map.losses import symmetric_cross_entropy
from storyjax.pi_map.model import conditioning_start, embed_in_batches
from storyjax.storyworld.export.imagenet import export_imagenet
from storyjax.train.experiment import Batch, Experiment, Params, Task, summing_evaluator


@dataclass(frozen=True)
class PretrainData:
    """
    Attributes:
        manual_dir: the official files (storyjax/data/builders/imagenet.py says which).
        data_dir: where the prepared records go, or where TFDS has put them.
        storyworld: counts of a StoryWorld to be written into manual_dir; None for the real data set.
        prompt: what is said around a token; it is also the caption that the conditioning vectors start from.
        start_images: pictures that the conditioning vectors start from.
        text_length: tokens of the prompt.
    """

    manual_dir: str = "data/imagenet"
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    prompt: str = "a photo of *"
    start_images: int = 256
    text_length: int = 77
    max_broken_fraction: float = 0.05
    workers: int = 0


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/pi_map_imagenet.py`."""
    data = from_config(PretrainData, config.data, "config.data")
    model, section = make_model(config.model, config.precision)
    clip, size = section.clip, model.config.vision.image_size
    weights = functools.cache(clip.parameters)

    @functools.cache
    def records(split: str) -> ImagenetSource:
        if data.storyworld is not None:
            export_imagenet(data.manual_dir, data.storyworld)
        return prepare(data.manual_dir, data.data_dir, split)

    def load(record: Mapping[str, Any], rng: np.random.Generator) -> Batch:
        del rng
        return {"image": resize(decode_image(record["image"], record["file_name"]), size)}

    def both(params: Params, batch: Batch) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        images = model.images(params, batch["image"])
        ids, slots = clip.encode(data.prompt, data.text_length)
        return images, model.spoken(params, model.tokens(params, images), ids, slots)

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        value, found = symmetric_cross_entropy(*both(params, batch), section.loss.temperature)
        return value, {"r1": found}

    def eval_step(params: Params, batch: Batch) -> dict[str, Array]:
        valid = batch["record_valid"].astype(np.float32)
        images, texts = both(params, batch)
        best = (images @ texts.T).argmax(axis=1) == np.arange(images.shape[0])
        return {"found": (valid * best).sum(), "cosine": (valid * (images * texts).sum(axis=1)).sum(), "n": valid.sum()}

    def pretrained() -> dict[str, np.ndarray]:
        if not section.init_scheme or config.init.checkpoint is not None:
            return weights()
        params = unflatten(dict(weights()))
        source = records("train")
        step = max(1, len(source) // data.start_images)
        chosen = [source[i] for i in range(0, len(source), step)][: data.start_images]
        pixels = np.stack([load(record, np.random.default_rng(0))["image"] for record in chosen])
        images = embed_in_batches(lambda part: jax.jit(model.images)(params, part), pixels)
        caption = clip.encode(data.prompt.replace("*", "a thing"), data.text_length)[0][None]
        text = np.asarray(jax.jit(model.texts)(params, caption))
        starts = conditioning_start(images, np.repeat(text, len(images), axis=0))
        return {**weights(), **{f"pi/condition_{layer}": vector for layer, vector in enumerate(starts)}}

    streams = {"max_broken_fraction": data.max_broken_fraction, "workers": data.workers}
    return Experiment(
        name="pi_map.pretrain",
        init=model.init,
        pretrained=pretrained,
        trainable="pi/.*",
        tasks=(Task("imagenet", lambda spec: train_stream(records("train"), load, spec, **streams), loss),),
        evaluators=(
            summing_evaluator(
                "imagenet",
                lambda spec: eval_stream(records("validation"), load, spec, **streams),
                eval_step,
                lambda sums: {
                    "imagenet/r1_in_batch": float(sums["found"] / sums["n"]),
                    "imagenet/cosine": float(sums["cosine"] / sums["n"]),
                },
            ),
        ),
        units="images",
        steps_per_epoch=lambda: max(1, len(records("train")) // config.train.batch_size),
    )
