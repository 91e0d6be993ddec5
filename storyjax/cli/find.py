"""`storyjax find`: searches for enrolled people and things; see `storyjax/search/command.py`."""

import argparse
import sys
from collections.abc import Callable

from storyjax.cli.faces import add_detector_flag, add_face_flags
from storyjax.cli.find_models import model_loader
from storyjax.cli.find_things import add_thing_flags, thing_options, token_reader
from storyjax.cli.models import add_models_flag
from storyjax.cli.tracks import add_track_flags
from storyjax.core.files import json_text

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
  storyjax find "two children on a beach" --index runs/index

A prompt can name several people, or several things, or nobody. A model that was trained for people (CLIP-PAD) is asked
by name and face, which finds best: "<ana>" is "ana <ana>". The models that come with storyjax are small and trained
on StoryWorld alone (`storyjax data storyworld --help`). For real videos, `storyjax models get find` brings a published
CLIP, and `storyjax models get faces --from senet50_128.pth` a face encoder; they are used where they are there, and no
--checkpoint is given (--clip names another CLIP). Then people are found in two stages, by their faces and by the rest
of the sentence, and things by the mean of their photos and the sentence.
`storyjax find enrol --help` and so on say more.
"""
ENROL = """\
Enrols a person from photos of the face, or with --thing a particular thing from photos of it, so that prompts can name
it. No large network is retrained; with published networks (`storyjax models`) none is: the description of a face is
kept, or the mean of a thing's photos. Photos that are damaged or show no face are named and left out. The small
models of StoryWorld take each photo as the loose crop of one face; others find the face in it (--face-detector) and, of
several, take the largest (--pick). Of a thing, whole photos are used, or with --detector what is in its box; a π-map
also learns from a sentence that describes it (--caption). What a run of π-map has learned needs no photos (--tokens).

  storyjax find enrol ana photos/ana
  storyjax find enrol "Michael Richards" one.jpg two.jpg
  storyjax find enrol chia photos/chia --thing dog
  storyjax find enrol chia photos/chia --thing dog --detector track
  storyjax find enrol chia photos/chia --thing dog --caption "a small brown dog with a white paw"
  storyjax find enrol "my dog chia" --thing dog --tokens tokens.safetensors --checkpoint runs/pi_map_thisismy
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

With a published CLIP and a face encoder (`storyjax models`), the faces in every image and in a frame a second are found
(--face-detector) and stored as well; --face-detector none leaves them out.

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
    enrol.add_argument("photos", nargs="*", metavar="PHOTOS", help="image files, or folders of them")
    enrol.add_argument("--thing", metavar="CATEGORY", help="enrols a thing of this category: dog, mug")
    add_thing_flags(enrol)
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
            "--clip",
            metavar="DIR",
            help="a published CLIP or SigLIP, as downloaded or imported (default: see 'storyjax models')",
        )
        add_models_flag(parser)
    for parser in (find, enrol):
        add_face_flags(parser)
    add_detector_flag(index)
    for parser in (find, enrol, index):
        parser.add_argument(
            "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
        )


def _enrol(given: argparse.Namespace) -> int:
    from storyjax.search import command

    things = thing_options(given)
    load = model_loader(given.checkpoint, given.clip, given.face_detector, given.pick, given.models, things=things)
    if given.tokens is not None:
        print(command.enrol_token(given.gallery, given.name, given.thing, token_reader(given.tokens), load))
    else:
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

    load = model_loader(given.checkpoint, given.clip, given.face_detector, models=given.models)
    print(command.index(given.folder, given.out, given.every, load, given.video_track))
    return 0


def _find(given: argparse.Namespace) -> int:
    from storyjax.search import command

    request = command.Request(given.prompt, given.index, given.gallery, given.face, given.top, given.html)
    load = model_loader(
        given.checkpoint, given.clip, given.face_detector, given.pick, given.models, searched=given.index
    )
    result = command.find(request, load)
    if result.unfinished:
        print("storyjax: note: the index is unfinished: 'storyjax find index' continues it", file=sys.stderr)
    print(json_text(command.to_json(request, result), indent=2) if given.json else command.format_hits(result))
    return 0
