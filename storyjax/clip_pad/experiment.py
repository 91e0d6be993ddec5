"""CLIP-PAD's experiment: the data, losses and evaluators of configs/clip_pad_*.py (thesis §4.3.1)."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.clip_pad.config import DataConfig, frozen_parameters, make_model, make_sizes, make_tokenizer
from storyjax.clip_pad.data import (
    PERFORMERS,
    CachedFeatures,
    ClipIndex,
    ClipLoader,
    People,
    PhotoIndex,
    PhotoLoader,
    read_clip,
)
from storyjax.clip_pad.eval_benchmarks import cia_evaluator, cip_evaluator, faces_evaluator
from storyjax.clip_pad.evaluate import RetrievalEvaluator, embed_batch
from storyjax.clip_pad.feature_cache import FeatureCache
from storyjax.clip_pad.losses import PersonContrast
from storyjax.clip_pad.model import TRAINABLE
from storyjax.clip_pad.season import season_evaluator
from storyjax.clip_pad.statistics import SPLITS, clip_statistics
from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import unflatten
from storyjax.data.builders.media import MediaSource
from storyjax.data.pipeline import Stream, train_stream
from storyjax.data.registry import prepare_split
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task


class Sources:
    """The data sets of a config, each prepared when it is first needed."""

    def __init__(self, data: DataConfig):
        self.data = data

    @functools.cache  # noqa: B019 (one for each experiment, and as long-lived)
    def source(self, dataset: str, split: str) -> MediaSource:
        """Returns the records of a split; errors as of `prepare_split`."""
        return prepare_split(
            dataset,
            getattr(self.data.root, dataset),
            self.data.cache_dir,
            split,
            synthetic=(self.data.synthetic or {}).get(dataset),
            max_broken_fraction=self.data.max_broken_fraction,
        )

    @functools.cache  # noqa: B019
    def people(self) -> People:
        """Returns the photos that people are learned from."""
        return People(self.source(self.data.dataset, self.data.train_split), self.data.val_photos)

    @functools.cache  # noqa: B019 (as above)
    def held_out_people(self) -> People:
        """Returns VGGFace2's people who are not trained on: the first photos of each are asked with."""
        return People(self.source("vggface2", "test"), self.data.val_photos)

    @functools.cache  # noqa: B019
    def query_photos(self, dataset: str) -> PhotoIndex:
        """Returns the photos of a data set that queries are made of."""
        return PhotoIndex(self.source(dataset, "faces"))

    @functools.cache  # noqa: B019
    def clips(self, split: str) -> ClipIndex:
        """Returns a split of Celebrities in Action."""
        return ClipIndex(self.source("cia", split), self.query_photos("cia"))

    def prepare(self) -> dict[str, int]:
        """Returns how many records each split that training and evaluation read has, prepared."""
        evaluated = self.data.evaluations()
        wanted: list[tuple[str, str]] = [(self.data.dataset, self.data.train_split)]
        wanted += [("vggface2", "test")] * ("identities" in evaluated)
        wanted += [("cia", self.data.train_split)] * bool({"clips", "cia"} & {*self.data.tasks, *evaluated})
        searched = {"cip": "test", "cia": "test", "season": "episodes"}
        wanted += [(name, split) for name in evaluated if name in searched for split in (searched[name], "faces")]
        wanted += [("cia", "faces")] * ("clips" in self.data.tasks)
        return {f"{dataset}:{split}": len(self.source(dataset, split)) for dataset, split in dict.fromkeys(wanted)}

    def clip_statistics(self) -> dict[str, float]:
        """Returns Table 4.1 as "cia/data/SPLIT/...", of the splits that are there."""
        found: dict[str, float] = {}
        trained = frozenset(self.people().names)
        for split in SPLITS:
            # A split that is not there leaves its line empty; it is no reason to lose an evaluation.
            with contextlib.suppress(StoryjaxError):
                numbers = clip_statistics(self.source("cia", split).labels, trained)
                found |= {f"cia/data/{split}/{name}": value for name, value in numbers.items()}
        return found

    def known_people(self) -> frozenset[str]:
        """Returns the lower-case names of all people in the training data."""
        return frozenset(self.people().names) | frozenset(self.clips(self.data.train_split).actors)


class _Experiment:
    """The parts of the experiment of a config; data are prepared when they are first needed."""

    def __init__(self, config: ConfigDict):
        self.data = from_config(DataConfig, config.data, "config.data")
        self.model = make_model(config.model, config.precision)
        self.sources = Sources(self.data)
        self.sizes = make_sizes(self.model, dataclasses.asdict(self.data))
        self.tokenizer = functools.cache(lambda: make_tokenizer(config.model))
        self.cache = FeatureCache(self.model, lambda: unflatten(frozen_parameters(config.model)), self.sizes)

    @functools.cached_property
    def _photo_features(self) -> CachedFeatures:
        people, sizes = self.sources.people(), self.sizes
        images = self.cache.clips("photos", people.train, lambda record: sizes.clip_square(people.read(record))[None])
        faces = self.cache.faces("faces", people.train, lambda record: people.read_face(record, sizes.face_loose))
        return CachedFeatures(images, faces)

    @functools.cached_property
    def _clip_features(self) -> CachedFeatures:
        index, photos = self.sources.clips(self.data.train_split), self.sources.query_photos("cia")
        clips = self.cache.clips(
            "clips", index.usable, lambda record: read_clip(index.source[record], self.sizes, None)
        )
        return CachedFeatures(clips, self.cache.faces("query photos", range(len(photos.source)), photos.read))

    def batch_spec(self, frames: int) -> BatchSpec | None:
        """Returns what `storyjax plan` needs to know of a training batch; nothing of cached embeddings."""
        if self.data.embed_once:
            return None
        facts = {"query_facts": (2,), "query_place": (), "facts": (PERFORMERS, 2), "place": ()}
        return BatchSpec.of_rows(
            self._clip(frames) | self._query() | {name: (tail, np.int32) for name, tail in facts.items()}
        )

    def eval_specs(self, frames: int) -> dict[str, BatchSpec]:
        """Returns the same of an evaluation's two kinds of batches: clips (or images), and queries."""
        return {"clips": BatchSpec.of_rows(self._clip(frames)), "queries": BatchSpec.of_rows(self._query())}

    def _clip(self, frames: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"frames": ((frames, self.sizes.clip, self.sizes.clip, 3), np.uint8)}

    def _query(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        photos, side, length = self.sizes.query_photos, self.sizes.face, self.sizes.text_length
        return {
            "faces": ((photos, side, side, 3), np.uint8),
            "face_valid": ((photos,), np.bool_),
            "ids": ((length,), np.int32),
            "slots": ((length,), np.int32),
        }

    def photos(self, spec: StreamSpec) -> Stream:
        """Returns the training data of the task "photos"."""
        data, people = self.data, self.sources.people()
        features = self._photo_features if data.embed_once else None
        load = PhotoLoader(people, self.sizes, self.tokenizer(), data.mix, features, data.unknown_names)
        return train_stream(
            people.train, load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    def clips(self, spec: StreamSpec) -> Stream:
        """Returns the training data of the task "clips"."""
        data, index = self.data, self.sources.clips(self.data.train_split)
        features = self._clip_features if data.embed_once else None
        photos = self.sources.query_photos("cia")
        load = ClipLoader(index, photos, self.sizes, self.tokenizer(), data.mix, features, data.unknown_names)
        return train_stream(
            index.usable, load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    def evaluator(self, name: str) -> RetrievalEvaluator:
        """Returns the evaluator "faces", "identities", "cip", "cia" or "season"; its data are prepared."""
        model, sources, data, sizes = self.model, self.sources, self.data, self.sizes
        if name == "faces":
            return faces_evaluator(model, sources.people(), sizes, self.tokenizer, data.classes)
        if name == "identities":
            return faces_evaluator(model, sources.held_out_people(), sizes, self.tokenizer, data.classes, name)
        photos = sources.query_photos(name)
        if name == "cip":
            source = sources.source("cip", "test")
            return cip_evaluator(model, source, photos, data.root.cip, sizes, self.tokenizer)
        if name == "cia":
            known = sources.known_people()
            clips, statistics = sources.clips("test"), sources.clip_statistics
            return cia_evaluator(model, clips, photos, known, sizes, self.tokenizer, statistics)
        source = sources.source("season", "episodes")
        query = (data.season_person, data.season_action, data.season_minute)
        return season_evaluator(model, source, photos, *query, sizes, self.tokenizer)

    def eval_step(self, params: Params, batch: Batch) -> dict[str, jax.Array]:
        """Returns the embeddings of a batch of clips or of queries; every evaluation embeds them alike."""
        return embed_batch(self.model, params, batch)

    def shown(self, name: str) -> int:
        """Returns the frames of what an evaluation searches: one of images and of moments of a season."""
        return self.sizes.frames if name == "cia" else 1

    def examples(self) -> int:
        """Returns the number of training records: photos where they are trained on, clips otherwise."""
        if "photos" in self.data.tasks:
            return len(self.sources.people().train)
        return len(self.sources.clips(self.data.train_split).usable)


def open_evaluation(config: ConfigDict, name: str) -> RetrievalEvaluator:
    """Returns the evaluator "faces", "identities", "cip", "cia" or "season" of a config; its data are prepared."""
    return _Experiment(config).evaluator(name)


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of configs/clip_pad_vggface2.py, clip_pad_cia.py and clip_pad_cip.py.

    Raises:
        StoryjaxError: an unknown key, task, split or architecture.
    """
    parts = _Experiment(config)
    data, loss = parts.data, PersonContrast(parts.model)
    tasks = {
        "photos": Task("photos", parts.photos, loss, batch_spec=parts.batch_spec(1)),
        "clips": Task("clips", parts.clips, loss, weight=data.clip_weight, batch_spec=parts.batch_spec(data.frames)),
    }
    return Experiment(
        name="clip_pad",
        init=parts.model.init,
        pretrained=lambda: frozen_parameters(config.model),
        trainable=TRAINABLE,
        tasks=tuple(tasks[choose(name, tasks, "config.data.tasks")] for name in data.tasks),
        evaluators=tuple(
            _deferred(
                name, functools.partial(parts.evaluator, name), parts.eval_step, parts.eval_specs(parts.shown(name))
            )
            for name in data.evaluations()
        ),
        units="queries",
        steps_per_epoch=lambda: parts.examples() // config.train.batch_size,
        prepare=parts.sources.prepare,
    )


def _deferred(
    name: str,
    make: Callable[[], RetrievalEvaluator],
    eval_step: Callable[[Params, Batch], dict[str, jax.Array]],
    batch_spec: Mapping[str, BatchSpec],
) -> Evaluator:
    """Returns an evaluator that prepares its data when it is run: parameter shapes need no data sets."""
    made = functools.cache(lambda: make().evaluator())
    return Evaluator(
        name,
        lambda spec: made().data(spec),
        eval_step,
        lambda acc, measured, batch: made().accumulate(acc, measured, batch),
        lambda acc: made().compute(acc),
        batch_spec=batch_spec,
    )
