"""`storyjax gallery`: the people and things that every command knows by name."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from storyjax.cli.faces import add_face_flags
from storyjax.cli.find_models import model_loader
from storyjax.cli.find_things import add_thing_flags, thing_options, token_reader
from storyjax.cli.models import add_models_flag
from storyjax.core.errors import StoryjaxError

if TYPE_CHECKING:
    from storyjax.gallery.gallery import Gallery, Taught

GALLERY = """\
Keeps the people and things that `find`, `track`, `subtitle` and `story` know by name, in one folder: faces, voices,
images of things, tokens for prompts, each of the model that made it, and small pictures.

  storyjax gallery add ana photos/ana --voice ana.wav     a person, from photos of the face and a recording
  storyjax gallery add chia photos/chia --thing dog       a thing, here a dog
  storyjax gallery list                                   what is known of each, and from which model
  storyjax gallery rename ana "Ana Weiss"                 all else stays, also in stories
  storyjax gallery merge anna ana                         two entries are one person: the second name stays
  storyjax gallery forget ana --index runs/index          removes all that is known of her, there too
  storyjax gallery export people.zip                      everything in one file
  storyjax gallery import people.zip --rename ana="Ana B"

`storyjax find enrol`, `find list` and `find forget` are the same for what prompts need. Two people of one name need a
word more each, such as "Ana (baker)". Of another model's vectors a command says what to add again.
"""
ADD = """\
Adds a person from photos of the face and recordings of the voice (--voice), or with --thing a thing from photos of it;
to a name that is there already, what is known more. What the models at hand can tell is kept: the descriptions of faces
or the images' vectors, a token for prompts, and the voice; of the same photo, recording and model in place of what was.
Photos that are damaged or show no face are named and left out, as `storyjax find enrol --help` says.

  storyjax gallery add ana photos/ana
  storyjax gallery add ana --voice ana.wav interview.mp3
  storyjax gallery add chia photos/chia --thing dog --detector track
"""
LIST = """\
Lists the people and things with what is known of each, and from which model.

  storyjax gallery list
  storyjax gallery list --json
"""
RENAME = """\
Gives a person or thing another name. All else stays; stories show the new name.

  storyjax gallery rename "Speaker 2" Ana
"""
MERGE = """\
Makes two entries one, under the second name, with what is known of both.

  storyjax gallery merge anna ana
"""
FORGET = """\
Removes a person or thing with all vectors and pictures. With --index also the images of an index of `storyjax find` in
which the person's face was found, with all their rows; with --story also what a story says of them. Each may be given
more than once. What was exported stays where it was put.

  storyjax gallery forget ana
  storyjax gallery forget ana --index runs/index --story runs/story
"""
EXPORT = """\
Writes the whole gallery into one zip file, for another machine.

  storyjax gallery export people.zip
"""
IMPORT = """\
Adds the people and things of a file that `storyjax gallery export` wrote. All of them or none: where a name is taken,
--rename gives another. Who is here already by id and name stays as it is.

  storyjax gallery import people.zip
  storyjax gallery import people.zip --rename ana="Ana B" --rename chia="Chia B"
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds `gallery` and each of its actions, which are commands of their own; `made` gets their parsers by name."""

    def command(name: str, about: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made[name] = commands.add_parser(name, description=about)
        made[name].set_defaults(act=act)
        return made[name]

    whole = command("gallery", GALLERY, lambda given: _print(whole.format_help().rstrip()))
    adding = command("gallery add", ADD, _add)
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("photos", nargs="*", metavar="PHOTOS", help="image files, or folders of them")
    adding.add_argument(
        "--voice", nargs="+", default=[], metavar="FILE", help="recordings of the voice alone, or voices.json"
    )
    adding.add_argument("--thing", metavar="CATEGORY", help="adds a thing of this category: dog, mug")
    add_thing_flags(adding)
    add_face_flags(adding)
    adding.add_argument("--clip", metavar="DIR", help="a published CLIP or SigLIP (default: see 'storyjax models')")
    adding.add_argument(
        "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
    )
    add_models_flag(adding)
    listing = command("gallery list", LIST, _list)
    listing.add_argument("--json", action="store_true", help="prints one JSON list, with all sources")
    renaming = command("gallery rename", RENAME, _rename)
    renaming.add_argument("name", metavar="NAME")
    renaming.add_argument("new", metavar="NEW_NAME")
    merging = command("gallery merge", MERGE, _merge)
    merging.add_argument("name", metavar="NAME")
    merging.add_argument("into", metavar="INTO")
    forgetting = command("gallery forget", FORGET, _forget)
    forgetting.add_argument("name", metavar="NAME")
    forgetting.add_argument("--index", action="append", default=[], metavar="DIR", help="an index to remove them from")
    forgetting.add_argument("--story", action="append", default=[], metavar="DIR", help="a story to remove them from")
    exporting = command("gallery export", EXPORT, _export)
    exporting.add_argument("file", metavar="FILE.zip")
    importing = command("gallery import", IMPORT, _import)
    importing.add_argument("file", metavar="FILE.zip")
    importing.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="another name for an entry")
    for parser in (adding, listing, renaming, merging, forgetting, exporting, importing):
        add_gallery_flag(parser, "runs/gallery")


def add_gallery_flag(parser: argparse.ArgumentParser, default: str | None = None, does: str = "") -> None:
    """Adds --gallery to a parser; `does` is what it is for where there is no default."""
    parser.add_argument("--gallery", default=default, metavar="DIR", help=f"(default: {default})" if default else does)


def _gallery(given: argparse.Namespace) -> "Gallery":
    from storyjax.gallery.gallery import Gallery

    return Gallery(given.gallery)


def _print(text: str) -> int:
    print(text)
    return 0


def _add(given: argparse.Namespace) -> int:
    from storyjax.gallery.format1 import ENROLLED
    from storyjax.gallery.gallery import Taught
    from storyjax.gallery.record import TOKEN
    from storyjax.search import teach

    gallery = _gallery(given)
    if given.tokens is not None:
        if given.voice or given.thing is None:
            raise StoryjaxError("--tokens is for a thing by itself: give --thing CATEGORY, and leave --voice out")
        thing_options(given)
        model = model_loader(given.checkpoint, given.clip, models=given.models)("thing")
        token = token_reader(given.tokens)(model, given.name)
        taught = [Taught(TOKEN, model.fingerprint, token, ENROLLED, model=teach.model_label(model))]
        entry = gallery.create(given.name, "thing", given.thing, taught=taught)
    else:
        things = thing_options(given) if given.photos else None
        load = model_loader(given.checkpoint, given.clip, given.face_detector, given.pick, given.models, things=things)
        recordings = _recordings(given.name, given.models)
        entry, taught = teach.add(gallery, given.name, given.photos, given.thing, given.voice, load, recordings)
    counts: dict[str, int] = {}
    for one in taught:
        counts[one.role] = counts.get(one.role, 0) + len(one.vectors)
    learned = ", ".join(f"{count} {role}" for role, count in counts.items())
    return _print(f"{entry.category or entry.kind} '{entry.name}' in {given.gallery}: learned {learned}")


def _recordings(name: str, models: str | None) -> "Callable[[Sequence[str]], list[Taught]]":
    """Returns what describes recordings by the voice encoder of the models folder, or by the one that ships."""

    def describe(files: Sequence[str]) -> "list[Taught]":
        from storyjax.core.notes import tell
        from storyjax.subtitles.gallery_voices import taught_by_recordings
        from storyjax.weights.roles import model_for, used_line

        choice = model_for("voices", models, "subtitle")
        taught = taught_by_recordings(name, files, choice.place)
        if line := used_line("gallery add", [choice]):
            tell(line)
        return taught

    return describe


def _list(given: argparse.Namespace) -> int:
    import json

    from storyjax.gallery import command

    gallery = _gallery(given)
    return _print(json.dumps(command.described(gallery), indent=2) if given.json else command.listing(gallery))


def _rename(given: argparse.Namespace) -> int:
    from storyjax.gallery import command

    return _print(command.rename(_gallery(given), given.name, given.new))


def _merge(given: argparse.Namespace) -> int:
    from storyjax.gallery import command

    return _print(command.merge(_gallery(given), given.name, given.into))


def _forget(given: argparse.Namespace) -> int:
    gallery = _gallery(given)
    entry = gallery.get(given.name)
    lines = []
    for index in given.index:
        from storyjax.search.forgetting import forget_in_index

        lines.append(forget_in_index(gallery, entry, index))
    gallery.forget(entry.name)
    return _print("\n".join([*lines, f"'{entry.name}' is forgotten: all vectors and pictures are removed"]))


def _export(given: argparse.Namespace) -> int:
    from storyjax.gallery import command

    return _print(command.export(_gallery(given), given.file))


def _import(given: argparse.Namespace) -> int:
    from storyjax.gallery import command

    return _print(command.take_in(_gallery(given), given.file, given.rename))
