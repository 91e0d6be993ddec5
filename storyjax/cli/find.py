"""`storyjax find`: people and things that were enrolled; the work is `storyjax/search/command.py`'s."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storyjax.search.command import Load
    from storyjax.search.protocol import Personaliser

FIND = """\
Finds particular people, and particular things, in your videos and images: enrol them from a few photos, index a folder
once, and name them between < and > in what you look for.

  storyjax find enrol ana photos/ana                     learns a person from photos of her face
  storyjax find enrol chia photos/chia --thing dog       learns a thing, here a dog; takes a minute or so
  storyjax find list                                     shows who and what is enrolled
  storyjax find forget ana                               forgets her, pictures and all
  storyjax find index films --out runs/index             indexes a folder; again, and it takes what is new
  storyjax find "An image of <ana> entering the room" --index runs/index --html found.html
  storyjax find "An image of <x> in the park" --index runs/index --face stranger.jpg

A prompt can name several people, or several things. The models that come with storyjax are small and have seen nothing
but StoryWorld (`storyjax data storyworld --help`). `storyjax find enrol --help` and the like tell more.
"""
ENROL = """\
Learns a person from photos of the face (loose crops, one face in each), or with --thing a particular thing from photos
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
Shows who and what is enrolled in the gallery.

  storyjax find list --gallery runs/gallery
"""
INDEX = """\
Indexes the images and videos of a folder and of those in it: videos as clips of 2 s (16 frames at 8 a second). Given
again, it takes what is new or changed, drops what is gone, and goes on where it was stopped. Files that cannot be read
are skipped and named.

  storyjax find index films --out runs/index
  storyjax find index seinfeld --out runs/index --every 30    two clips a minute, as the thesis does (§4.7.2)
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds `find` and `find enrol` and so on, each a command of its own; `made` gets their parsers by name."""

    def command(name: str, about: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made[name] = commands.add_parser(name, description=about)
        made[name].set_defaults(act=act)
        return made[name]

    find = command("find", FIND, _find)
    find.add_argument("prompt", metavar="PROMPT", help='in quotes, with a name, as in "An image of <ana> dancing"')
    find.add_argument("--index", required=True, metavar="DIR", help="what 'storyjax find index' made")
    find.add_argument("--face", metavar="PHOTO", help="a photo of somebody who is named in the prompt, for this once")
    find.add_argument("--top", type=int, default=25, metavar="N", help="how many to show (default: 25)")
    find.add_argument("--html", metavar="FILE", help="also writes a page with their pictures, which needs no network")
    find.add_argument("--json", action="store_true", help="prints everything as one JSON object")
    enrol = command("find enrol", ENROL, _enrol)
    enrol.add_argument("name", metavar="NAME", help="what prompts shall call it")
    enrol.add_argument("photos", nargs="+", metavar="PHOTOS", help="image files, or folders of them")
    enrol.add_argument("--thing", metavar="CATEGORY", help="it is a thing, and this the general word for it: dog, mug")
    forget = command("find forget", FORGET, _forget)
    forget.add_argument("name", metavar="NAME")
    listing = command("find list", LIST, _list)
    index = command("find index", INDEX, _index)
    index.add_argument("folder", metavar="FOLDER")
    index.add_argument("--out", required=True, metavar="DIR", help="where the index goes: a new folder, or an index")
    index.add_argument(
        "--every", type=float, metavar="SECONDS", help="from the start of a clip to the next's (default: 2, all of it)"
    )
    for parser in (find, enrol, forget, listing):
        parser.add_argument("--gallery", default="runs/gallery", metavar="DIR", help="(default: runs/gallery)")
    for parser in (find, enrol, index):
        parser.add_argument(
            "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
        )


def finder(checkpoint: str | None) -> "Load":
    """What loads the model for a kind of what can be enrolled ("person", "thing"): search itself knows no chapter."""

    def load(kind: str) -> "Personaliser":
        given = (checkpoint,) if checkpoint else ()
        if kind == "person":
            from storyjax.clip_pad.predict import PersonFinder

            return PersonFinder.from_checkpoint(*given)
        from storyjax.pi_map.predict import ThingFinder

        return ThingFinder.from_checkpoint(*given)

    return load


def _enrol(given: argparse.Namespace) -> int:
    from storyjax.search import command

    print(command.enrol(given.gallery, given.name, given.photos, given.thing, finder(given.checkpoint)))
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

    print(command.index(given.folder, given.out, given.every, finder(given.checkpoint)))
    return 0


def _find(given: argparse.Namespace) -> int:
    from storyjax.search import command

    asked = command.Request(given.prompt, given.index, given.gallery, given.face, given.top, given.html)
    found = command.find(asked, finder(given.checkpoint))
    if found.unfinished:
        print("storyjax: note: the index is unfinished: 'storyjax find index' goes on with it", file=sys.stderr)
    print(json.dumps(command.to_json(asked, found), indent=2) if given.json else command.in_words(found))
    return 0
