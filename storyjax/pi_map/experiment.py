"""π-map's experiment: tokens for the particular objects of a data set (thesis §5.3.2, §5.4)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.params_io import unflatten
from storyjax.data.images import Square
from storyjax.data.pipeline import RandomAccess, Stream, eval_stream, train_stream
from storyjax.data.registry import prepare_splits, write_synthetic
from storyjax.data.streams import StreamSpec
from storyjax.pi_map.captions import Captioner
from storyjax.pi_map.celebrities import actor_splits, unseen_clips
from storyjax.pi_map.config import (
    TRAINABLE,
    DataConfig,
    ModelConfig,
    check_text_length,
    clip_square,
    data_captioner,
    frozen_embed,
    frozen_parameters,
    make_detector,
    make_model,
)
from storyjax.pi_map.data import Collection, CollectionConfig, Embed, embed_collection, embed_pool
from storyjax.pi_map.enrolment import NegativeBank
from storyjax.pi_map.evaluate import Queries, accumulate, embed_queries, score
from storyjax.pi_map.losses import personalisation_loss
from storyjax.pi_map.model import PersonalClip, conditioning_start
from storyjax.pi_map.prompts import PromptEncoder, captions_of
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task

CAPTIONS = ("augmented", "specific", "generic")  # y*, y_s, y_g
_PLANNED_TEMPLATES = 16  # of an object, where a data set that is not there says how many
UNSEEN = "unseen"  # the pool of config.data.unseen_root


class Personalisation:
    """The loss over embedded templates, with the captions of their objects."""

    def __init__(self, model: PersonalClip, section: ModelConfig, data: CollectionConfig):
        self.model, self.loss_config, self.data = model, section.loss, data
        check_text_length(model, data.text_length)
        self.prompts = PromptEncoder(section.clip, section.clip.family)

    def captions(self, collection: Collection, captioner: Captioner | None) -> dict[str, np.ndarray]:
        """Returns the ids (objects, l) of each of CAPTIONS; errors as of the captioner."""
        rows = [captions_of(each.name, each.category, captioner, self.data.prompt) for each in collection.objects]
        ids = [[self.prompts.encode(text, self.data.text_length)[0] for text in row] for row in rows]
        return {name: np.stack([row[i] for row in ids]) for i, name in enumerate(CAPTIONS)}

    def loader(
        self, collection: Collection, captioner: Captioner | None
    ) -> Callable[[Any, np.random.Generator], Batch]:
        """Returns the function from a template to a training example."""
        captions = self.captions(collection, captioner)

        def load(item: Mapping[str, np.ndarray], rng: np.random.Generator) -> Batch:
            del rng
            return {**item, **{name: ids[int(item["object"])] for name, ids in captions.items()}}

        return load

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the loss and its parts, as `personalisation_loss`."""
        del key
        ids, slots = self.prompts.encode_fixed(self.data.prompt, self.data.text_length)
        tokens = self.model.tokens(params, batch["local"])
        prompted = self.model.embed_prompt(params, tokens, ids, slots)
        augmented, specific, generic = (
            jax.lax.stop_gradient(self.model.embed_texts(params, batch[name])) for name in CAPTIONS
        )
        captions = augmented, specific, generic
        return personalisation_loss(tokens, batch["whole"], prompted, captions, batch["object"], self.loss_config)


class _Experiment:
    """The parts of the experiment of a config; the data set is embedded when it is first needed."""

    def __init__(self, config: ConfigDict):
        self.data = from_config(DataConfig, config.data, "config.data")
        self.model, self.section = make_model(config.model, config.precision)
        self.personalisation = Personalisation(self.model, self.section, self.data)
        self.from_scratch, self.seed = config.init.checkpoint is None, config.seed

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The frozen CLIP's parameters."""
        return frozen_parameters(self.section.clip)

    @functools.cached_property
    def collection(self) -> Collection:
        """The embedded data set."""
        embed = frozen_embed(self.model, self.weights)
        return open_collection(self.data, embed, clip_square(self.model.config), self.seed)

    def train_data(self, spec: StreamSpec) -> Stream:
        """Returns the stream of templates."""
        templates = self.collection.templates
        return train_stream(templates, self.personalisation.loader(self.collection, data_captioner(self.data)), spec)

    def save_bank(self, path: Path) -> None:
        """Writes the templates as the negatives of later enrolments (enrolment.py); errors as of the captioner."""
        captioner, templates = data_captioner(self.data), self.collection.templates
        captions = tuple(
            captions_of(each.name, each.category, captioner, self.data.prompt) for each in self.collection.objects
        )
        NegativeBank(templates.whole, templates.local, templates.objects, captions).save(path)

    def _vectors(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        width = self.model.config.projection_dim
        return {"whole": ((width,), np.float32), "local": ((width,), np.float32), "object": ((), np.int32)}

    def batch_spec(self) -> BatchSpec:
        """Returns what `storyjax plan` needs to know of a training batch."""
        texts = dict.fromkeys(CAPTIONS, ((self.data.text_length,), np.int32))
        return BatchSpec.of_rows(self._vectors() | texts)

    def eval_spec(self) -> BatchSpec:
        """Returns the same of a batch of queries; of a data set that is not there, with `templates` of an object."""
        texts = dict.fromkeys(("ids", "slots", "named", "of_kind"), ((self.data.text_length,), np.int32))
        most, width = self.data.templates or _PLANNED_TEMPLATES, self.model.config.projection_dim
        numbers = dict.fromkeys(("kind", "answer"), ((), np.int32))
        templates = {"templates": ((most, width), np.float32), "template_mask": ((most,), np.bool_)}
        return BatchSpec.of_rows(self._vectors() | texts | numbers | templates | {"record_valid": ((), np.bool_)})

    def evaluator(self, pool: str) -> Evaluator:
        """Returns the evaluator of a pool: a split that is searched, or UNSEEN."""
        name = self.data.dataset if pool == "test" else f"{self.data.dataset}_{pool}"

        def stream(spec: StreamSpec) -> Stream:
            prompts = self.personalisation.prompts
            queries = Queries(self.collection, self.collection.pools[pool], prompts, self.data)
            return eval_stream(queries, queries.load, spec)

        return Evaluator(
            name,
            stream,
            lambda params, batch: embed_queries(self.model, params, batch),
            accumulate,
            lambda queries: score(queries, self.collection.pools[pool], name),
            batch_spec=self.eval_spec(),
        )

    def pretrained(self) -> dict[str, np.ndarray]:
        """Returns the frozen CLIP, and if π starts by the scheme of §5.3.5 (init_scheme), its conditioning vectors."""
        if not self.section.init_scheme or not self.from_scratch:
            return self.weights
        captions = self.personalisation.captions(self.collection, data_captioner(self.data))["augmented"]
        texts = np.asarray(jax.jit(self.model.embed_texts)(unflatten(dict(self.weights)), captions))
        templates = self.collection.templates
        starts = conditioning_start(templates.local, texts[templates.objects])
        return {**self.weights, **{f"pi/condition_{layer}": vector for layer, vector in enumerate(starts)}}


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of configs/pi_map_thisismy.py, pi_map_deepfashion2.py and pi_map_cia.py.

    Raises:
        StoryjaxError: an unknown key or architecture.
    """
    parts = _Experiment(config)
    pools = (*parts.data.eval_splits, *([UNSEEN] if parts.data.unseen_root else []))
    return Experiment(
        name="pi_map",
        init=parts.model.init,
        pretrained=parts.pretrained,
        trainable=TRAINABLE,
        tasks=(Task("personalise", parts.train_data, parts.personalisation.loss, batch_spec=parts.batch_spec()),),
        evaluators=tuple(parts.evaluator(pool) for pool in pools),
        units="templates",
        files={NegativeBank.FILE: parts.save_bank},
        steps_per_epoch=lambda: max(1, len(parts.collection.templates) // config.train.batch_size),
        prepare=functools.partial(_prepare, parts.data),
    )


def open_collection(data: DataConfig, embed: Embed, square: Square, seed: int) -> Collection:
    """Returns the data set, embedded.

    Args:
        embed: f_v of images as `square` makes them.
        square: makes the squares that CLIP takes.
        seed: see `embed_collection`.

    Raises:
        StoryjaxError: the data set is not there or is broken, or an object has too few records.
    """
    learned = _learned(data)
    splits = open_splits(data, data.root, data.synthetic, (*learned, *data.eval_splits))
    localise = make_detector(data.localise)
    collection = embed_collection(splits, learned, data.eval_splits, data, embed, square, localise, seed)
    if data.unseen_root is None:
        return collection
    numbers = {each.name: number for number, each in enumerate(collection.objects)}
    unseen = _open_unseen(data, data.unseen_root, numbers)
    pool = embed_pool(unseen, embed, square, lambda record: numbers.get(record["name"], -1))
    return dataclasses.replace(collection, pools={**collection.pools, UNSEEN: pool})


def _learned(data: DataConfig) -> tuple[str, ...]:
    """The splits that objects are learned from."""
    return (data.train_split, *(["eval"] if data.also_eval else []))


def _open_unseen(data: DataConfig, root: str, numbers: Mapping[str, int]) -> RandomAccess:
    """The records of the other collection, with the numbers of the objects by name."""
    if data.unseen_synthetic is not None:
        write_synthetic(data.dataset, root, data.unseen_synthetic)
    if data.dataset == "cia":
        return unseen_clips(root, data.cache_dir, numbers, max_broken_fraction=data.max_broken_fraction)
    return open_splits(data, root, None, ("test",))["test"]


def _prepare(data: DataConfig) -> dict[str, int]:
    """How many records each split has, prepared."""
    splits = open_splits(data, data.root, data.synthetic, (*_learned(data), *data.eval_splits))
    counts = {f"{data.dataset}:{name}": len(records) for name, records in splits.items()}
    if data.unseen_root is not None:
        counts[f"{data.dataset}:{UNSEEN}"] = len(_open_unseen(data, data.unseen_root, {}))
    return counts


def open_splits(
    data: DataConfig, root: str, synthetic: Mapping[str, Any] | None, names: tuple[str, ...]
) -> Mapping[str, RandomAccess]:
    """Returns the named splits of the collection in `root`; errors as of `open_collection`.

    A StoryWorld is written there first if the config asks for one.
    """
    if synthetic is not None:
        write_synthetic(data.dataset, root, synthetic)
    broken = data.max_broken_fraction
    if data.dataset == "cia":
        splits = actor_splits(root, data.cache_dir, data.train_split, max_broken_fraction=broken)
        return {name: splits[choose(name, splits, "config.data.eval_splits")] for name in names}
    options: dict[str, Any] = {"captions": data.query_captions} if data.dataset == "deepfashion2" else {}
    wanted = tuple(dict.fromkeys(names))
    return prepare_splits(data.dataset, root, data.cache_dir, wanted, max_broken_fraction=broken, **options)
