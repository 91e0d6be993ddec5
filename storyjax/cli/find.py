"""`storyjax find`: searches for enrolled people and things; see `storyjax/search/command.py`."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from storyjax.cli.faces import add_face_flags
from storyjax.cli.tracks import add_track_flags
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text

if TYPE_CHECKING:
    from storyjax.search.command import Load
    from storyjax.search.protocol import ConceptEncoder

FIND = """\
Finds particular people, and particular things, in your videos and images: enrol them from a few photos, index a folder
once, and name them between < and > in the query.

  storyjax find enrol ana photos/ana                     enrols a person from photos of her face
  storyjax find enrol chia photos/chia --thing dog       enrols a thing, here a dog; takes about a minute
  storyjax find list                                     lists the enrolled people and things
  storyjax find forget ana                               removes her with her pictures
  storyjax find index videos --out runs/index            indexes a folder, or updates its index
  storyjax find "An image of <ana> entering the room" --index runs/index --html found.html
  storyjax find "An image of <x> in the park" --index runs/index --face stranger.jpg
  storyjax find "two children on a beach" --index runs/clip --clip weights/clip-vit-l-14    plain words, by CLIP alone

A prompt can name several people, or several things, or nobody. The models that come with storyjax are small and trained
on StoryWorld alone (`storyjax data storyworld --help`); with --clip, here and in `find index`, a published CLIP (its
folder as downloaded, or as `storyjax import clip-vit-l-14` makes it) searches real videos by plain words, without
names.
`storyjax find enrol --help` and so on say more.
"""
ENROL = """\
Enrols a person from photos of the face, or with --thing a particular thing from photos of it, so that prompts can name
it. No model is retrained. Photos that are damaged or show no face are named and left out. The small models of
StoryWorld take each photo as the loose crop of one face; others find the face in it (--face-detector) and, of several,
take the largest (--pick).

  storyjax find enrol ana photos/ana
  storyjax find enrol "Michael Richards" one.jpg two.jpg
  storyjax find enrol chia photos/chia --thing dog
  storyjax find enrol ben wedding.jpg --pick left
"""
FORGET = """\
Removes an enrolled name from the gallery, with its token and its pictures.

  storyjax find forget ana
"""
LIST = """\
Lists the people and things that are enrolled in the gallery.

  storyjax find list --gallery runs/gallery
"""
INDEX = """\
Indexes the images and videos of a folder and of the folders in it: videos as clips of 2 s (16 frames at 8 per second).
Run again, it adds new and changed files, drops removed ones, and continues where it was stopped. Linked folders are
indexed too. What is left out is named with its reason; what a folder held that cannot be read now, or whose disk is not
mounted, stays in the index. HEIC photos need pillow-heif: pip install 'storyjax[heif]'.

  storyjax find index videos --out runs/index
  storyjax find index seinfeld --out runs/index --every 30    two clips a minute, as in the thesis (§4.7.2)
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds `find`, `find enrol` and so on, each a command of its own; `made` gets their parsers by name."""

    def command(name: str, about: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made[name] = commands.add_parser(name, description=about)
        made[name].set_defaults(act=act)
        return made[name]

    find = command("find", FIND, _find)
    find.add_argument("prompt", metavar="PROMPT", help='in quotes, with a name, as in "An image of <ana> dancing"')
    find.add_argument("--index", required=True, metavar="DIR", help="an index made by 'storyjax find index'")
    find.add_argument("--face", metavar="PHOTO", help="a photo of a person in the prompt who is not enrolled")
    find.add_argument("--top", type=int, default=25, metavar="N", help="number of results (default: 25)")
    find.add_argument("--html", metavar="FILE", help="also writes a self-contained HTML report with images")
    find.add_argument("--json", action="store_true", help="prints the result as one JSON object")
    enrol = command("find enrol", ENROL, _enrol)
    enrol.add_argument("name", metavar="NAME", help="the name in prompts")
    enrol.add_argument("photos", nargs="+", metavar="PHOTOS", help="image files, or folders of them")
    enrol.add_argument("--thing", metavar="CATEGORY", help="enrols a thing of this category: dog, mug")
    forget = command("find forget", FORGET, _forget)
    forget.add_argument("name", metavar="NAME")
    listing = command("find list", LIST, _list)
    index = command("find index", INDEX, _index)
    index.add_argument("folder", metavar="FOLDER")
    index.add_argument("--out", required=True, metavar="DIR", help="where the index goes: a new folder, or an index")
    index.add_argument(
        "--every", type=float, metavar="SECONDS", help="seconds between the starts of clips (default: 2, back to back)"
    )
    add_track_flags(index)
    for parser in (find, enrol, forget, listing):
        parser.add_argument("--gallery", default="runs/gallery", metavar="DIR", help="(default: runs/gallery)")
    for parser in (find, index):
        parser.add_argument("--clip", metavar="DIR", help="a published CLIP alone, for plain words (no names)")
    for parser in (find, enrol):
        add_face_flags(parser)
    for parser in (find, enrol, index):
        parser.add_argument(
            "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
        )


def model_loader(
    checkpoint: str | None, clip: str | None = None, face_detector: str | None = None, pick: str | None = None
) -> "Load":
    """Returns a function that loads the model of a kind ("person", "thing", "text"); search itself imports no chapter.

    Args:
        checkpoint: a trained model; None: what comes with storyjax.
        clip: the folder of a CLIP that takes the place of either.
        face_detector, pick: of photos of people, as of `storyjax.clip_pad.predict.PersonFinder.from_pretrained`.

    Raises:
        StoryjaxError: a trained model and a CLIP are given.
    """
    if checkpoint is not None and clip is not None:
        raise StoryjaxError("--clip is a model by itself: leave --checkpoint out")

    def load(kind: str) -> "ConceptEncoder":
        if clip is not None:
            from storyjax.search.clip_encoder import ClipEncoder

            return ClipEncoder.from_pretrained(clip)
        from storyjax.weights.roles import tell_shipped

        encoder: ConceptEncoder
        if kind == "thing":
            from storyjax.pi_map.predict import ThingFinder

            encoder = ThingFinder.from_pretrained(checkpoint)
        else:  # CLIP-PAD's text tower reads plain words, too
            from storyjax.clip_pad.predict import PersonFinder

            encoder = PersonFinder.from_pretrained(checkpoint, detector=face_detector, pick=pick)
        tell_shipped("find", checkpoint)
        return encoder

    return load


def _enrol(given: argparse.Namespace) -> int:
    from storyjax.search import command

    load = model_loader(given.checkpoint, None, given.face_detector, given.pick)
    print(command.enrol(given.gallery, given.name, given.photos, given.thing, load))
    return 0


def _forget(given: argparse.Namespace) -> int:
    from storyjax.search import command

    print(command.forget(given.gallery, given.name))
    return 0


def _list(given: argparse.Namespace) -> int:
    from storyjax.search import command

    print(command.listing(given.gallery))
    return 0


def _index(given: argparse.Namespace) -> int:
    from storyjax.search import command

    print(
        command.index(
            given.folder, given.out, given.every, model_loader(given.checkpoint, given.clip), given.video_track
        )
    )
    return 0


def _find(given: argparse.Namespace) -> int:
    from storyjax.search import command
    from storyjax.search.protocol import names_in

    if given.clip and (names := names_in(given.prompt)):
        raise StoryjaxError(
            f"--clip knows no names: describe <{names[0]}> in words, or search an index of the model that enrolled it"
        )
    request = command.Request(given.prompt, given.index, given.gallery, given.face, given.top, given.html)
    load = model_loader(given.checkpoint, given.clip, given.face_detector, given.pick)
    result = command.find(request, load)
    if result.unfinished:
        print("storyjax: note: the index is unfinished: 'storyjax find index' continues it", file=sys.stderr)
    print(json_text(command.to_json(request, result), indent=2) if given.json else command.format_hits(result))
    return 0
