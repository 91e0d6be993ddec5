"""CLIP-PAD's experiment: the data, losses and evaluators of configs/clip_pad_*.py (thesis §4.3.1)."""

import dataclasses
import functools
from collections.abc import Callable

from ml_collections import ConfigDict

from storyjax.clip_pad.config import DataConfig, frozen_parameters, make_model, make_sizes, make_tokenizer
from storyjax.clip_pad.data import (
    CachedFeatures,
    ClipIndex,
    ClipLoader,
    People,
    PhotoIndex,
    PhotoLoader,
    read_clip,
    resize,
)
from storyjax.clip_pad.eval_benchmarks import cia_evaluator, cip_evaluator, faces_evaluator
from storyjax.clip_pad.evaluate import RetrievalEvaluator
from storyjax.clip_pad.feature_cache import FeatureCache
from storyjax.clip_pad.losses import PersonContrast
from storyjax.clip_pad.model import TRAINABLE
from storyjax.clip_pad.season import season_evaluator
from storyjax.core.config import choose, from_config
from storyjax.core.params_io import unflatten
from storyjax.data.builders.media import MediaSource
from storyjax.data.pipeline import Stream, train_stream
from storyjax.data.registry import prepare_split
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Evaluator, Experiment, Task


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

    @functools.cache  # noqa: B019
    def query_photos(self, dataset: str) -> PhotoIndex:
        """Returns the photos of a data set that queries are made of."""
        return PhotoIndex(self.source(dataset, "faces"))

    @functools.cache  # noqa: B019
    def clips(self, split: str) -> ClipIndex:
        """Returns a split of Celebrities in Action."""
        return ClipIndex(self.source("cia", split), self.query_photos("cia"))

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
        people, size = self.sources.people(), self.sizes.clip
        images = self.cache.clips("photos", people.train, lambda record: resize(people.read(record), size)[None])
        return CachedFeatures(images, self.cache.faces("faces", people.train, people.read))

    @functools.cached_property
    def _clip_features(self) -> CachedFeatures:
        index, photos = self.sources.clips(self.data.train_split), self.sources.query_photos("cia")
        frames, size = self.sizes.frames, self.sizes.clip
        clips = self.cache.clips(
            "clips", index.usable, lambda record: read_clip(index.source[record], frames, size, None)
        )
        return CachedFeatures(clips, self.cache.faces("query photos", range(len(photos.source)), photos.read))

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
        """Returns the evaluator "faces", "cip", "cia" or "season"; its data are prepared."""
        model, sources, data, sizes = self.model, self.sources, self.data, self.sizes
        if name == "faces":
            return faces_evaluator(model, sources.people(), sizes, self.tokenizer, data.classes)
        photos = sources.query_photos(name)
        if name == "cip":
            source = sources.source("cip", "test")
            return cip_evaluator(model, source, photos, data.root.cip, sizes, self.tokenizer)
        if name == "cia":
            known = sources.known_people()
            return cia_evaluator(model, sources.clips("test"), photos, known, sizes, self.tokenizer)
        source = sources.source("season", "episodes")
        query = (data.season_person, data.season_action, data.season_minute)
        return season_evaluator(model, source, photos, *query, sizes, self.tokenizer)

    def examples(self) -> int:
        """Returns the number of training records: photos where they are trained on, clips otherwise."""
        if "photos" in self.data.tasks:
            return len(self.sources.people().train)
        return len(self.sources.clips(self.data.train_split).usable)


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of configs/clip_pad_vggface2.py, clip_pad_cia.py and clip_pad_cip.py.

    Raises:
        StoryjaxError: an unknown key, task, split or architecture.
    """
    parts = _Experiment(config)
    data, loss = parts.data, PersonContrast(parts.model)
    tasks = {
        "photos": Task("photos", parts.photos, loss),
        "clips": Task("clips", parts.clips, loss, weight=data.clip_weight),
    }
    return Experiment(
        name="clip_pad",
        init=parts.model.init,
        pretrained=lambda: frozen_parameters(config.model),
        trainable=TRAINABLE,
        tasks=tuple(tasks[choose(name, tasks, "config.data.tasks")] for name in data.tasks),
        evaluators=tuple(_deferred(name, functools.partial(parts.evaluator, name)) for name in data.evaluations()),
        units="queries",
        steps_per_epoch=lambda: parts.examples() // config.train.batch_size,
    )


def _deferred(name: str, make: Callable[[], RetrievalEvaluator]) -> Evaluator:
    """Returns an evaluator that prepares its data when it is run: parameter shapes need no data sets."""
    made = functools.cache(lambda: make().evaluator())
    return Evaluator(
        name,
        lambda spec: made().data(spec),
        lambda params, batch: made().eval_step(params, batch),
        lambda acc, measured, batch: made().accumulate(acc, measured, batch),
        lambda acc: made().compute(acc),
    )
