"""Named subtitles from Python: `Subtitler`, which `storyjax subtitle` runs."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.cast import Cast, read_cast
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.diarise import label_speakers
from storyjax.subtitles.grid_search import SEARCHED
from storyjax.subtitles.networks import Networks
from storyjax.subtitles.pipeline import needs_faces, subtitle
from storyjax.subtitles.published_networks import ALL, SOUND, resolve
from storyjax.subtitles.records import Subtitles
from storyjax.subtitles.voices import Voices
from storyjax.train.restore import open_trained

PathLike = str | os.PathLike[str]


class Subtitler:
    """Names the lines of videos, given a cast list with photos or samples of voices.

    Args:
        config: the networks and thresholds.
        networks: to be used instead of those that `config` names.
    """

    def __init__(self, config: SubtitleConfig | None = None, networks: Networks | None = None) -> None:
        self.config = config or SubtitleConfig()
        self._networks = networks

    @classmethod
    def from_pretrained(
        cls, place: PathLike | None = None, *, precision: str | None = None, **options: Any
    ) -> "Subtitler":
        """Returns a subtitler with the settings of a run, or with the networks that come with storyjax.

        Args:
            place: the workdir of a run of the experiment `subtitles`: its networks, thresholds and, once it is done,
                the distance and the thresholds that it chose; None: the defaults of SubtitleConfig.
            precision: None or "float32", in which all its networks compute.
            options: fields of SubtitleConfig to be set, such as distance=0.25, or `**BY_PHOTOS`.

        Raises:
            StoryjaxError: no such run, an unknown option, or another precision.
        """
        if precision not in (None, "float32"):
            raise StoryjaxError(f"the networks of the subtitles compute in float32, not {precision}: leave it out")
        settings: dict[str, Any] = {}
        if place is not None:
            run = open_trained(place, default="None", chapter="subtitler", experiments=("subtitles",), parts=())
            settings = run.config.model.to_dict() | _chosen_thresholds(run.folder)
        return cls(from_config(SubtitleConfig, settings | options, "config.model"))

    def subtitle(
        self,
        videos: PathLike | Sequence[PathLike],
        cast: PathLike | Cast | None = None,
        *,
        transcripts: Mapping[str, Path] | None = None,
        cache_dir: PathLike = "runs/subtitles",
        progress: bool = True,
        encoding: str | None = None,
        video_track: int | None = None,
        audio_track: int | None = None,
        laughter: bool = True,
        speakers: int | None = None,
        known: Voices | None = None,
        by_sentence: bool = False,
    ) -> list[Subtitles]:
        """Returns the named lines of each video, in their order; what is learnt of the voices is shared by all.

        Args:
            videos: episodes of a series, or one video; sound files will do where the cast has samples of voices.
            cast: a cast list, or the file that holds it; None: speakers are clustered, and called "Speaker 1" ...
            transcripts: by the video's name without its ending: SRT, VTT or JSON to be used instead of recognition.
            cache_dir: where the stages keep their results, from which a run that was stopped goes on.
            progress: whether to show a progress bar on standard error.
            encoding: of the transcripts; None: UTF-8, or what they say themselves.
            video_track, audio_track: of every video, from 1; None: see `storyjax.data.containers.choose_track`.
            laughter: whether laughter is wanted where no faces are looked for, which does without it.
            speakers, known, by_sentence: without a cast list, as of `diarise.label_speakers`.

        Raises:
            StoryjaxError: what a person can fix, in one line.
        """
        given = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
        paths = [Path(path) for path in given]
        options: dict[str, Any] = {"transcripts": transcripts, "progress": progress, "encoding": encoding}
        options |= {"video_track": video_track, "audio_track": audio_track, "laughter": laughter}
        listed = cast if cast is None or isinstance(cast, Cast) else read_cast(cast)
        config = self.config
        if self._networks is None:
            faces = listed is not None and needs_faces(listed)
            config = resolve(config, needed=ALL if faces else SOUND if laughter else SOUND[:2])
        where = (config, Path(cache_dir), self._networks)
        if listed is None:
            return label_speakers(paths, *where, speakers=speakers, known=known, by_sentence=by_sentence, **options)
        return subtitle(paths, listed, *where, **options)


def _chosen_thresholds(folder: Path) -> dict[str, float]:
    """The distance and, of a grid search, the other thresholds among a run's results, if there are any."""
    try:
        results = json.loads((folder / "results.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    found = {key.rpartition("/")[2]: value for key, value in results.items() if key.endswith("/distance")}
    for key, value in results.items():
        name = key.rpartition("/chosen/")[2]
        if name in SEARCHED and key.endswith(f"/chosen/{name}"):
            found[name] = type(getattr(SubtitleConfig(), name))(value)  # results are floats, some thresholds counts
    return found
