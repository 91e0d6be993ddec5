"""`storyjax find`: searches for enrolled people and things; see `storyjax/search/command.py`."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from storyjax.cli.tracks import add_track_flags
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

A prompt can name several people, or several things. The models that come with storyjax are small and trained on
StoryWorld alone (`storyjax data storyworld --help`). `storyjax find enrol --help` and so on say more.
"""
ENROL = """\
Enrols a person from photos of the face (loose crops, one face in each), or with --thing a particular thing from photos
of it, so that prompts can name it. No model is retrained.

  storyjax find enrol ana photos/ana
  storyjax find enrol "Michael Richards" one.jpg two.jpg
  storyjax find enrol chia photos/chia --thing dog
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
    for parser in (find, enrol, index):
        parser.add_argument(
            "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
        )


def model_loader(checkpoint: str | None) -> "Load":
    """Returns a function that loads the model of a kind ("person", "thing"); search itself imports no chapter."""

    def load(kind: str) -> "ConceptEncoder":
        from storyjax.clip_pad.predict import PersonFinder
        from storyjax.pi_map.predict import ThingFinder
        from storyjax.weights.roles import tell_shipped

        encoder = (PersonFinder if kind == "person" else ThingFinder).from_pretrained(checkpoint)
        tell_shipped("find", checkpoint)
        return encoder

    return load


def _enrol(given: argparse.Namespace) -> int:
    from storyjax.search import command

    print(command.enrol(given.gallery, given.name, given.photos, given.thing, model_loader(given.checkpoint)))
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

    print(command.index(given.folder, given.out, given.every, model_loader(given.checkpoint), given.video_track))
    return 0


def _find(given: argparse.Namespace) -> int:
    from storyjax.search import command

    request = command.Request(given.prompt, given.index, given.gallery, given.face, given.top, given.html)
    result = command.find(request, model_loader(given.checkpoint))
    if result.unfinished:
        print("storyjax: note: the index is unfinished: 'storyjax find index' continues it", file=sys.stderr)
    print(json_text(command.to_json(request, result), indent=2) if given.json else command.format_hits(result))
    return 0
