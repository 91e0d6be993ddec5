"""`storyjax story`: makes the story of films, writes it for other programs, and measures it (`storyjax/story/`)."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storyjax.cli.faces import add_detector_flag
from storyjax.cli.models import add_models_flag

if TYPE_CHECKING:
    from storyjax.story.rows import Film

STORY = """\
Makes the story of films: who is in them, when, with whom, and who says what; in one database, DIR/story.sqlite, and
DIR/story.json. Give videos, or folders of videos:

  storyjax story episode1.mp4 episode2.mp4 --out seinfeld --gallery people
  storyjax story ~/Films --out library --gallery people
  storyjax story interview.mp4 --out story --tracker faces --transcript interview.srt
  storyjax story episode1.mp4 --out seinfeld --cast cast.json --places "a kitchen, a street, a cafe"

People have the names of the gallery (`storyjax gallery add`) or of a cast list, as `storyjax subtitle` takes it; others
are told apart and called Person 1, Person 2 ... Faces name who is seen, voices name who speaks, and each helps where
the other is not sure.

What is done is kept: a run that was stopped goes on where it was, new films are added, and after a change, say in the
gallery, only what depends on it is done again. A film that cannot be read is named and left out; the exit code is 2
where all are. Networks come from the models folder (`storyjax models`), and where it has none from what ships, which
knows StoryWorld's synthetic world only; a line says so.

  storyjax story export DIR --to elan --out episode1.eaf    for other programs: `storyjax story export --help`
  storyjax story evaluate DIR --truth FOLDER                measures a story of a synthetic series
"""

EXPORT = """\
Writes a story for other programs:

  storyjax story export DIR --to json --out story.json     everything but boxes, by docs/story.schema.json
  storyjax story export DIR --to csv --out FOLDER          tables of shots, appearances, utterances and tracks
  storyjax story export DIR --to vtt --out FOLDER          subtitles with the speakers as voices (WebVTT)
  storyjax story export DIR --to rttm --out FOLDER         who speaks when, as diarisation is measured
  storyjax story export DIR --to elan --out FOLDER         tiers of who is seen and who speaks (.eaf)
  storyjax story export DIR --to mot --out FOLDER          boxes of tracks, MOTChallenge's text
  storyjax story export DIR --to iiif --out FOLDER         IIIF manifests with W3C annotations
  storyjax story export DIR --to html --out FOLDER         the app's page of a film, which opens without a server

vtt, rttm, elan, mot and iiif are a file for each film; for one film --out may name the file. Who is found as a group
that nobody has named is called Person 1, Person 2 ...
"""

EVALUATE = """\
Measures a story of a StoryWorld series (`storyjax data series --things --out SERIES`) against what is true:

  storyjax story SERIES/video --out DIR --cast SERIES/cast.json
  storyjax story evaluate DIR --truth SERIES --cast SERIES/cast.json

lanes_f1 is of (person, second); tracks_right the fraction of tracks with the right name; speech_right the fraction of
the seconds in which somebody of the cast speaks that has their name. The line "story" is what is stored; with --cast or
--gallery three more name the same tracks and sentences by faces alone, by voices alone, and by both.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds `story`, `story export` and so on, each a command of its own; `made` gets their parsers by name."""

    def command(name: str, about: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made[name] = commands.add_parser(name, description=about)
        made[name].set_defaults(act=act)
        return made[name]

    story = command("story", STORY, _story)
    story.add_argument("films", nargs="+", metavar="VIDEO_OR_FOLDER", help="videos, and folders of videos")
    story.add_argument("--out", required=True, metavar="DIR", help="where the story goes: a new folder, or a story")
    story.add_argument("--gallery", metavar="DIR", help="the gallery of people and things (default: nobody is known)")
    story.add_argument("--teach", action="store_true", help="teaches the gallery the voices of its people")
    story.add_argument("--cast", metavar="FILE", help="a cast list, as of `storyjax subtitle`")
    story.add_argument("--fps", type=float, default=5.0, metavar="N", help="images tracked in a second (default: 5)")
    story.add_argument(
        "--tracker",
        metavar="WHICH",
        help="'faces' follows faces alone, as CenterFace finds them; else the workdir of a trained MQT, or shipped:NAME"
        " (default: the detector of the models folder, else what ships)",
    )
    story.add_argument(
        "--names-by",
        choices=("faces", "voices", "both"),
        default="both",
        help="what people are named by (default: both)",
    )
    story.add_argument(
        "--transcript",
        nargs="+",
        default=[],
        metavar="FILE",
        help="an SRT, VTT or JSON file for each film, in their order; speech is then not recognised",
    )
    story.add_argument(
        "--places",
        metavar="NAMES",
        help="places that shots are told apart by, as 'park, kitchen, street', or a file with one in every line",
    )
    story.add_argument(
        "--captions",
        action="store_true",
        help="says in words what each shot shows, by the model of the role 'ask' (BLIP-2: seconds to minutes a shot)",
    )
    story.add_argument("--engine", metavar="NAME", help="speech recogniser, as of `storyjax subtitle`")
    story.add_argument("--model", metavar="NAME", help="speech model, as of `storyjax subtitle`")
    story.add_argument("--language", metavar="CODE", help="language of the speech, as of `storyjax subtitle`")
    story.add_argument(
        "--distance",
        type=float,
        metavar="D",
        help="cosine distance (0 to 2) beyond which voices are of two people (default: the voice encoder's own)",
    )
    add_detector_flag(story)
    add_models_flag(story)
    export = command("story export", EXPORT, _export)
    export.add_argument("story", metavar="DIR", help="the story's folder")
    export.add_argument("--to", required=True, metavar="FORMAT", help="json, csv, vtt, rttm, elan, mot, iiif or html")
    export.add_argument("--out", required=True, metavar="PATH", help="a file or a folder, as above")
    export.add_argument("--film", metavar="NAME", help="one film of the story (default: all)")
    export.add_argument(
        "--url",
        default="http://localhost:8000",
        metavar="URL",
        help="of iiif: the address under which manifests and films will be found (default: http://localhost:8000)",
    )
    export.add_argument(
        "--media",
        choices=("copy", "link"),
        default="copy",
        help="of html: whether the films are copied into the folder, or played where they are (default: copy)",
    )
    measure = command("story evaluate", EVALUATE, _evaluate)
    measure.add_argument("story", metavar="DIR", help="the story's folder")
    measure.add_argument("--truth", required=True, metavar="FOLDER", help="of the series: truth/EPISODE.json")
    measure.add_argument("--gallery", metavar="DIR", help="the gallery of people and things")
    measure.add_argument("--cast", metavar="FILE", help="a cast list")
    measure.add_argument("--json", action="store_true", help="prints the scores as one JSON object")
    add_models_flag(measure)


def _story(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from storyjax.core.errors import StoryjaxError
    from storyjax.story.films import film_names, find_films
    from storyjax.story.options import StoryOptions
    from storyjax.story.pipeline import make_story
    from storyjax.story.places import read_places

    films = find_films(given.films, Path(given.out))
    if given.transcript and len(given.transcript) != len(films):
        raise StoryjaxError(
            f"{len(films)} films and {len(given.transcript)} transcripts: give one for each film, in their order"
        )
    transcripts = dict(zip(film_names(films), map(Path, given.transcript), strict=False))
    options = StoryOptions(
        fps=given.fps,
        tracker=given.tracker,
        names_by=given.names_by,
        gallery=Path(given.gallery) if given.gallery else None,
        cast=Path(given.cast) if given.cast else None,
        models=given.models,
        face_detector=given.face_detector,
        transcripts=transcripts,
        engine=given.engine,
        speech_model=given.model,
        language=given.language,
        distance=given.distance,
        places=read_places(given.places) if given.places else (),
        captions=given.captions,
        teach=given.teach,
    )
    with tqdm(unit="s", disable=None, leave=False, bar_format="{desc} {n:.0f}/{total:.0f} s {postfix}") as bar:
        done = make_story(films, given.out, options, _Progress(bar))
    for line in done.lines():
        print(line)
    return 0 if done.films else 2


class _Progress:
    """Shows the film, the stage and the rate."""

    def __init__(self, bar: Any):
        self.bar, self._last = bar, ("", "")

    def __call__(self, film: "Film", stage: str, done_s: float) -> None:
        if self._last != (film.name, stage):
            self._last = (film.name, stage)
            self.bar.reset(total=max(film.duration_s, 1e-3))
            self.bar.set_description_str(f"{film.name}: {stage}")
            if self.bar.disable:
                print(f"storyjax: {film.name}: {stage}", file=sys.stderr)
        self.bar.update(done_s - self.bar.n)
        seconds = self.bar.format_dict["elapsed"]
        self.bar.set_postfix_str(f"{done_s / max(seconds, 1e-3):.1f}x real time")


def _export(given: argparse.Namespace) -> int:
    from storyjax.core.config import choose
    from storyjax.story.export.formats import NAMES, export
    from storyjax.story.export.html_page import export_html
    from storyjax.story.store import Story

    choose(given.to, (*NAMES, "html"), "--to")
    with Story.open(given.story) as story:
        if given.to == "html":
            pages = [path for path in export_html(story, given.out, given.film, given.media) if path.suffix == ".html"]
            print(*pages, sep="\n")
            return 0
        files = export(story, given.to, given.out, given.film, given.url)
    for path in files:
        print(path)
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    import json

    from storyjax.story.evaluate import evaluate, table
    from storyjax.story.options import StoryOptions
    from storyjax.story.store import Story

    options = None
    if given.gallery or given.cast:
        gallery, cast = (Path(place) if place else None for place in (given.gallery, given.cast))
        options = StoryOptions(gallery=gallery, cast=cast, models=given.models)
    with Story.open(given.story) as story:
        scores = evaluate(story, given.truth, options)
    print(json.dumps(scores, indent=1) if given.json else "\n".join(table(scores)))
    return 0
