"""CLIP-PAD's experiment: data sets, losses and evaluators of `configs/clip_pad_*.py` (thesis §4.3.1).

`config.data` is `PadData`: which data sets, where they lie, what is trained on and what is evaluated.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

from ml_collections import ConfigDict

from storyjax.clip_pad.config import make_model, make_tokenizer, pretrained
from storyjax.clip_pad.data import Albums, ClipIndex, ClipLoader, People, PhotoLoader, Seen, Sizes, read_clip, resize
from storyjax.clip_pad.eval_benchmarks import cia_lookup, cip_lookup, faces_lookup
from storyjax.clip_pad.feature_cache import Bank
from storyjax.clip_pad.losses import PersonContrast
from storyjax.clip_pad.model import TRAINABLE
from storyjax.clip_pad.season import season_lookup
from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import unflatten
from storyjax.data.builders.celebrities import CelebritiesInAction, CelebritiesInPlaces
from storyjax.data.builders.media import MediaBuilder, MediaSource, prepare
from storyjax.data.builders.season import Season
from storyjax.data.builders.vggface import VGGFace, VGGFace2
from storyjax.data.pipeline import Stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.storyworld.export.celebrities import export_cia, export_cip, export_vggface, export_vggface2
from storyjax.storyworld.export.season import export_season
from storyjax.train.experiment import Evaluator, Experiment, Task


@dataclass(frozen=True)
class PadData:
    """The data of CLIP-PAD.

    Attributes:
        vggface_dir, vggface2_dir, cip_dir, cia_dir, season_dir: official files (storyjax/data/builders says which).
        data_dir: where the prepared records go.
        storyworld: how large a StoryWorld is to be written into these folders, by data set; a data set that is not
            named is read as it lies there, and with None all of them are.
        people: the person-recognition set: VGGFace for Celebrities in Places, VGGFace2 otherwise (§4.3.1).
        tasks: "photos" (person recognition), "clips" (Celebrities in Action), or both at once.
        measure: "faces", "cip", "cia", "season".
        mix: shares of queries by face, by name, by both.
        unknown_names: share of the queries by name and face in training whose name is a word that nothing is known of,
            another one each time: so the model learns to rely on the face where a name tells it nothing (Table 4.5).
        val_photos: of each person, held out for validation.
        classes: people that validation tells apart, at most.
        embed_once: whether the frozen networks look at all that is trained on before training (bank.py).
        clip_weight: of the loss on clips, where both tasks train.
        season_person, season_action: what is looked for in a season (§4.7.2).
        season_minute: seconds that count as a minute there; StoryWorld's stories are five times as quick as life.
        detector: what finds the face in a photo that somebody is enrolled from (storyjax/clip_pad/detect.py); None
            takes each photo as a loose crop.
    """

    vggface_dir: str = "data/vggface"
    vggface2_dir: str = "data/vggface2"
    cip_dir: str = "data/celebrities_in_places"
    cia_dir: str = "data/celebrities_in_action"
    season_dir: str = "data/season"
    data_dir: str = "data/prepared"
    storyworld: dict[str, dict[str, Any]] | None = None
    people: Literal["vggface", "vggface2"] = "vggface2"
    tasks: tuple[str, ...] = ("photos",)
    measure: tuple[str, ...] = ("faces",)
    mix: tuple[float, float, float] = (0.6, 0.2, 0.2)
    unknown_names: float = 0.0
    val_photos: int = 10
    classes: int = 1000
    frames: int = 4
    text_length: int = 77
    face_crop: float = 0.875
    query_photos: int = 1
    ending: str = ""
    embed_once: bool = False
    clip_weight: float = 1.0
    season_person: str = "Michael Richards"
    season_action: str = "entering the room"
    season_minute: float = 60.0
    detector: Literal["frontal_faces"] | None = None
    max_broken_fraction: float = 0.05
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.unknown_names <= 1:
            raise StoryjaxError(f"config.data.unknown_names is {self.unknown_names}: give a share from 0 to 1")


_EXPORTS = {"vggface": export_vggface, "vggface2": export_vggface2, "cip": export_cip, "cia": export_cia}


_EXPORTS["season"] = export_season


class Sources:
    """The data sets of a config, prepared when they are first asked for."""

    def __init__(self, data: PadData):
        self.data = data

    @functools.cache  # noqa: B019 (one for each experiment, and as long-lived)
    def source(self, kind: str, split: str) -> MediaSource:
        builders: dict[str, type[MediaBuilder]] = {
            "vggface": VGGFace,
            "vggface2": VGGFace2,
            "cip": CelebritiesInPlaces,
            "cia": CelebritiesInAction,
            "season": Season,
        }
        folder = getattr(self.data, f"{kind}_dir")
        if self.data.storyworld is not None and kind in self.data.storyworld:
            try:
                _EXPORTS[kind](folder, **self.data.storyworld[kind])
            except TypeError as error:
                raise StoryjaxError(f"config.data.storyworld.{kind}: {error}") from error
        share = self.data.max_broken_fraction
        return prepare(builders[kind], folder, self.data.data_dir, split, max_broken_fraction=share)

    @functools.cache  # noqa: B019
    def people(self) -> People:
        return People(self.source(self.data.people, "train"), self.data.val_photos)

    @functools.cache  # noqa: B019
    def albums(self, kind: str) -> Albums:
        return Albums(self.source(kind, "faces"))

    @functools.cache  # noqa: B019
    def clips(self, split: str) -> ClipIndex:
        return ClipIndex(self.source("cia", split), self.albums("cia"))

    def known(self) -> frozenset[str]:
        """Everybody whom training showed."""
        names = set(self.people().names)
        return frozenset(names | set(self.clips("train").actors))


def build(config: ConfigDict) -> Experiment:
    """The experiment of configs/clip_pad_vggface2.py, clip_pad_cia.py and clip_pad_cip.py."""
    data = from_config(PadData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    sources = Sources(data)
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    sizes = Sizes(
        clip=model.config.clip.vision.image_size,
        face=model.config.face.image_size,
        frames=data.frames,
        text_length=data.text_length,
        face_crop=data.face_crop,
        query_photos=data.query_photos,
        ending=data.ending,
    )
    loss = PersonContrast(model)

    bank = Bank(model, lambda: unflatten(pretrained(config.model, model)), sizes)

    @functools.cache
    def seen_photos() -> Seen:
        people = sources.people()
        looked = bank.clips("photos", people.train, lambda record: resize(people.read(record), sizes.clip)[None])
        return Seen(looked, bank.faces("faces", people.train, people.read))

    @functools.cache
    def seen_clips() -> Seen:
        index, albums = sources.clips("train"), sources.albums("cia")
        looked = bank.clips(
            "clips", index.usable, lambda record: read_clip(index.source[record], sizes.frames, sizes.clip, None)
        )
        return Seen(looked, bank.faces("albums", range(len(albums.source)), albums.read))

    def photos(spec: StreamSpec) -> Stream:
        people = sources.people()
        seen = seen_photos() if data.embed_once else None
        load = PhotoLoader(people, sizes, tokenizer(), data.mix, seen, data.unknown_names)
        return train_stream(
            people.train, load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    def clips(spec: StreamSpec) -> Stream:
        index = sources.clips("train")
        seen = seen_clips() if data.embed_once else None
        albums = sources.albums("cia")
        load = ClipLoader(index, albums, sizes, tokenizer(), data.mix, seen, data.unknown_names)
        return train_stream(
            index.usable, load, spec, workers=data.workers, max_broken_fraction=data.max_broken_fraction
        )

    tasks = {"photos": Task("photos", photos, loss), "clips": Task("clips", clips, loss, weight=data.clip_weight)}
    evaluators = {
        "faces": lambda: faces_lookup(model, sources.people(), sizes, tokenizer, data.classes),
        "cip": lambda: cip_lookup(
            model, sources.source("cip", "test"), sources.albums("cip"), data.cip_dir, sizes, tokenizer
        ),
        "cia": lambda: cia_lookup(
            model, sources.clips("test"), sources.albums("cia"), sources.known(), sizes, tokenizer
        ),
    }
    evaluators["season"] = lambda: season_lookup(
        model,
        sources.source("season", "episodes"),
        sources.albums("season"),
        data.season_person,
        data.season_action,
        data.season_minute,
        sizes,
        tokenizer,
    )
    return Experiment(
        name="clip_pad",
        init=model.init,
        pretrained=lambda: pretrained(config.model, model),
        trainable=TRAINABLE,
        tasks=tuple(tasks[choose(name, tasks, "config.data.tasks")] for name in data.tasks),
        evaluators=tuple(
            _late(choose(name, evaluators, "config.data.measure"), evaluators[name]) for name in data.measure
        ),
        units="queries",
        steps_per_epoch=lambda: (
            len(sources.people().train if "photos" in data.tasks else sources.clips("train").usable)
            // config.train.batch_size
        ),
    )


def _late(name: str, make: Any) -> Evaluator:
    """An evaluator that looks for its data only when it is run: shapes need no data sets."""
    made = functools.cache(lambda: make().evaluator())
    return Evaluator(
        name,
        lambda spec: made().data(spec),
        lambda params, batch: made().eval_step(params, batch),
        lambda acc, measured, batch: made().accumulate(acc, measured, batch),
        lambda acc: made().compute(acc),
    )
