"""π-map's experiment: tokens for the particular objects of a data set (thesis §5.3.2, §5.4)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import unflatten
from storyjax.data.builders import deepfashion2, thisismy
from storyjax.data.pipeline import RandomAccess, Stream, eval_stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.pi_map import celebrities
from storyjax.pi_map.captions import Captioner, make_captioner
from storyjax.pi_map.config import ModelConfig, frozen_embed, make_detector, make_model
from storyjax.pi_map.data import Collection, CollectionConfig, Embed, Templates, embed_collection, embed_pool, prompts
from storyjax.pi_map.evaluate import Queries, embed_queries, gather, score
from storyjax.pi_map.losses import personalisation_loss
from storyjax.pi_map.model import PersonalClip, conditioning_start
from storyjax.pi_map.towers import FrozenClip
from storyjax.storyworld.export.celebrities import export_cia
from storyjax.storyworld.export.deepfashion2 import export_deepfashion2
from storyjax.storyworld.export.thisismy import export_thisismy
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task


@dataclass(frozen=True)
class PersonalData(CollectionConfig):
    """
    Attributes:
        dataset: whose official layout `manual_dir` has (storyjax/data/builders says which).
        storyworld: counts of a StoryWorld to be written into manual_dir; None for the real data set.
        unseen_dir: another collection in the same layout, of which the objects with the same names are looked for, or
            None (Table 5.7); its results stand under "dataset_unseen".
        unseen_storyworld: counts of a StoryWorld to be written there.
        pools: the splits that are searched; the results of "test" stand under the data set's name, those of another
            split under "dataset_split".
    """

    dataset: Literal["thisismy", "deepfashion2", "cia"] = "thisismy"
    manual_dir: str = "data/thisismy"
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    unseen_dir: str | None = None
    unseen_storyworld: dict[str, int] | None = None
    pools: tuple[str, ...] = ("test",)
    max_broken_fraction: float = 0.05


EXPORTS: Mapping[str, Callable[[str, dict[str, int]], Path]] = {
    "thisismy": export_thisismy,
    "deepfashion2": export_deepfashion2,
    "cia": lambda directory, counts: export_cia(directory, **counts),
}


PREPARES: Mapping[str, Callable[..., Mapping[str, RandomAccess]]] = {
    "thisismy": thisismy.prepare,
    "deepfashion2": deepfashion2.prepare,
    "cia": celebrities.prepare,
}


def captioner(data: PersonalData) -> Captioner | None:
    """What `config.data.captions` names."""
    return make_captioner(str(Path(data.manual_dir) / "captions.json") if data.captions == "data" else data.captions)


class Personalisation:
    """The loss over templates that were embedded beforehand, whose captions are given by their object."""

    def __init__(self, model: PersonalClip, section: ModelConfig, clip: FrozenClip, data: CollectionConfig):
        self.model, self.loss_config = model, section.loss
        self.clip, self.data = clip, data

    def captions(self, collection: Collection, describe: Captioner | None) -> dict[str, np.ndarray]:
        """Ids (objects, l) of y*, y_s and y_g."""
        rows = [prompts(thing, describe, self.data) for thing in collection.objects]
        encoded = [[self.clip.encode(text, self.data.text_length)[0] for text in row] for row in rows]
        return {
            name: np.stack([row[i] for row in encoded]) for i, name in enumerate(("augmented", "specific", "generic"))
        }

    def loader(self, collection: Collection, describe: Captioner | None) -> Callable[[Any, np.random.Generator], Batch]:
        texts = self.captions(collection, describe)

        def load(item: Mapping[str, np.ndarray], rng: np.random.Generator) -> Batch:
            del rng
            return {**item, **{name: ids[int(item["object"])] for name, ids in texts.items()}}

        return load

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        ids, slots = self.clip.encode(self.data.prompt, self.data.text_length)
        tokens = self.model.tokens(params, batch["local"])
        spoken = self.model.spoken(params, tokens, ids, slots)
        texts = [self.model.texts(params, batch[name]) for name in ("augmented", "specific", "generic")]
        frozen = tuple(jax.lax.stop_gradient(text) for text in texts)
        return personalisation_loss(tokens, batch["whole"], spoken, frozen, batch["object"], self.loss_config)


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/pi_map_thisismy.py` and `configs/pi_map_deepfashion2.py`."""
    data = from_config(PersonalData, config.data, "config.data")
    model, section = make_model(config.model, config.precision)
    clip = section.clip
    personalisation = Personalisation(model, section, clip, data)
    weights = functools.cache(clip.parameters)

    @functools.cache
    def collection() -> Collection:
        return open_collection(data, frozen_embed(model, weights()), model.config.vision.image_size, config.seed)

    def templates() -> Templates:
        return collection().templates

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(templates(), personalisation.loader(collection(), captioner(data)), spec)

    def evaluator(pool: str) -> Evaluator:
        name = data.dataset if pool == "test" else f"{data.dataset}_{pool}"

        def stream(spec: StreamSpec) -> Stream:
            queries = Queries(collection(), collection().pools[pool], clip, data)
            return eval_stream(queries, queries.load, spec)

        return Evaluator(
            name,
            stream,
            lambda params, batch: embed_queries(model, params, batch),
            gather,
            lambda queries: score(queries, collection().pools[pool], name),
        )

    def pretrained() -> dict[str, np.ndarray]:
        if not section.init_scheme or config.init.checkpoint is not None:
            return weights()
        captions = personalisation.captions(collection(), captioner(data))["augmented"]
        texts = np.asarray(jax.jit(model.texts)(unflatten(dict(weights())), captions))
        pairs = templates().local, texts[templates().objects]
        starts = conditioning_start(*pairs)
        return {**weights(), **{f"pi/condition_{layer}": vector for layer, vector in enumerate(starts)}}

    return Experiment(
        name="pi_map",
        init=model.init,
        pretrained=pretrained,
        trainable="pi/.*",
        tasks=(Task("personalise", train_data, personalisation.loss),),
        evaluators=tuple(evaluator(pool) for pool in (*data.pools, *(["unseen"] if data.unseen_dir else []))),
        units="templates",
        steps_per_epoch=lambda: max(1, len(templates()) // config.train.batch_size),
    )


def open_collection(data: PersonalData, embed: Embed, size: int, seed: int) -> Collection:
    """The data set, embedded; a StoryWorld is written first where the config asks for one."""
    splits = _splits(data, data.manual_dir, data.storyworld)
    found = embed_collection(splits, data.pools, data, embed, size, make_detector(data.localise), seed)
    if data.unseen_dir is None:
        return found
    unseen = _splits(data, data.unseen_dir, data.unseen_storyworld)["test"]
    numbers = {thing.name: number for number, thing in enumerate(found.objects)}
    pool = embed_pool(unseen, embed, size, lambda record: numbers.get(record["name"], -1))
    return dataclasses.replace(found, pools={**found.pools, "unseen": pool})


def _splits(data: PersonalData, manual_dir: str, storyworld: dict[str, int] | None) -> Mapping[str, RandomAccess]:
    if storyworld is not None:
        EXPORTS[data.dataset](manual_dir, storyworld)
    return PREPARES[data.dataset](manual_dir, data.data_dir, max_broken_fraction=data.max_broken_fraction)
