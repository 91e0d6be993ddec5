"""The `storyjax` command, for people: `storyjax --help` tells what it can do.

Whatever takes long to import is imported by the subcommand that needs it, so that help and slips answer at once.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import storyjax
from storyjax.errors import StoryjaxError, nearest
from storyjax.main import leave
from storyjax.search import arguments as search_arguments

if TYPE_CHECKING:
    from storyjax.search.personal import Personaliser

ABOUT = """\
Understands stories in videos: ask questions about them, find people and things in them, and check what the thesis
claims.

  storyjax ask VIDEO "question"        answers a question about a video
  storyjax find "An image of <NAME>"   finds whom or what you enrolled from photos in a folder of videos and images
  storyjax reproduce TABLE             makes a table of the thesis on StoryWorld and tells which claims hold
  storyjax data storyworld --out DIR   writes a world of small videos with questions, to train and test on

`storyjax COMMAND --help` explains each with examples. Training is `python -m storyjax.main --help`.
"""
ASK = """\
Answers a question about a video (mp4, mkv, webm, avi and what else FFmpeg reads), with probabilities, and tells which
moments it looked at.

  storyjax ask story.mp4 "what did ana do right after ben danced ?" --options "sang" "jumped" "read the book"
  storyjax ask story.mp4 "who danced ?" --figure looked.png
  storyjax ask film.mkv "where did he read the book ?" --checkpoint runs/tcr_nextqa --frames 64 --json

The model that comes with storyjax is small and has seen nothing but StoryWorld (`storyjax data storyworld --help`): it
knows that world's words only, and what it says of other videos is a guess.
"""
REPRODUCE = """\
Trains and evaluates every variant that a table of the thesis compares, on StoryWorld, and prints its numbers beside the
thesis's and which of its claims hold. Runs that are there already are used again, and ones cut short are gone on with,
so the same command can be given at any time. Run it in the folder of the repository.

  storyjax reproduce --list            all tables that the ledger knows
  storyjax reproduce 3.6               all of Table 3.6, three seeds
  storyjax reproduce 3.6a --seeds 1    one part of it, one seed
  storyjax reproduce 3.6 --quick       a few steps of each run: numbers that mean nothing, to see that all runs

The table also goes to WORKDIR/3.6.md and WORKDIR/3.6.json.
"""
DATA = """\
Writes data sets to train and test on.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
  storyjax data album --out runs/album
"""
ALBUM = """\
Writes photos of a few people and things of StoryWorld, and films in which they appear, to try `storyjax find` with;
truth.json tells who does what, where and when.

  storyjax data album --out runs/album
  storyjax find enrol ivy runs/album/photos/ivy
  storyjax find index runs/album/films --out runs/index
  storyjax find "An image of <ivy> dancing" --index runs/index
"""
STORYWORLD = """\
Writes StoryWorld, seeded stories as mp4 files with questions about them, in the official layout of NExT-QA: train.csv,
val.csv, test.csv, map_vid_vidorID.json and the folder NExTVideo. stories/ has what is true of each story. A world that
is there already is left as it is.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
"""


def main() -> NoReturn:
    """The command: runs what the process was given, and ends it with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± or █ is no reason to fail
    leave(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit code.

    0: done, or stopped by SIGTERM with the state saved. 2: something a person can mend, told in one line. 130: Ctrl-C.
    """
    try:
        return _run(list(argv))
    except StoryjaxError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough; nothing more can be told, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", StoryjaxError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(line: str, code: int) -> int:
    print(f"storyjax: error: {' '.join(line.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Slips become errors of one line that name the nearest known spelling."""

    def __init__(self, **settings: object):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            known = choice[2].replace("'", "").split(", ")
            message = f"unknown '{choice[1]}'.{nearest(choice[1], known)} Known: {', '.join(known)}"
        raise StoryjaxError(f"{message}; '{self.prog} --help' shows how.")

    def refuse(self, extra: Sequence[str]) -> NoReturn:
        flags = [argument.partition("=")[0] for argument in extra if argument.startswith("-")]
        hint = nearest(flags[0], self._option_string_actions) if flags else ""
        raise StoryjaxError(f"unknown {' '.join(extra)}.{hint} '{self.prog} --help' shows what there is.")


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the whole command, and those of its subcommands by name."""
    parser = _Parser(prog="storyjax", description=ABOUT, usage="storyjax COMMAND ...", add_help=True)
    parser.add_argument("--version", action="version", version=f"storyjax {storyjax.__version__}")
    commands = parser.add_subparsers(dest="command", prog="storyjax", metavar="COMMAND", help=argparse.SUPPRESS)
    made: dict[str, _Parser] = {}

    ask = made["ask"] = commands.add_parser("ask", description=ASK)
    ask.add_argument("video", metavar="VIDEO", help="path of the video")
    ask.add_argument("question", help='in quotes, for instance "who danced ?"')
    ask.add_argument(
        "--options", nargs="+", metavar="OPTION", help="two to eight answers to choose from; without, it answers freely"
    )
    ask.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="a run's workdir, a folder with model.safetensors and config.json, or shipped:NAME (default: the small"
        " model that comes with storyjax)",
    )
    ask.add_argument("--frames", type=int, metavar="N", help="frames to look at (default: as many as in training)")
    ask.add_argument("--figure", metavar="PNG", help="where to draw the frames with the attention they got")
    ask.add_argument("--json", action="store_true", help="prints everything as one JSON object")
    ask.set_defaults(act=_ask)

    reproduce = made["reproduce"] = commands.add_parser("reproduce", description=REPRODUCE)
    reproduce.add_argument("table", nargs="?", metavar="TABLE", help="the thesis's number, for instance 3.6 or 3.6a")
    reproduce.add_argument("--list", action="store_true", help="shows all tables that the ledger knows")
    reproduce.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    reproduce.add_argument(
        "--workdir", default="runs/reproduce", metavar="DIR", help="where the runs go (default: runs/reproduce)"
    )
    reproduce.add_argument("--quick", action="store_true", help="a few steps of each run, into WORKDIR/quick")
    reproduce.set_defaults(act=_reproduce)

    search_arguments.add_find(commands, made, _finder)

    data = made["data"] = commands.add_parser("data", description=DATA)
    worlds = data.add_subparsers(
        dest="world", prog="storyjax data", metavar="DATASET", required=True, help=argparse.SUPPRESS
    )
    storyworld = made["data storyworld"] = worlds.add_parser("storyworld", description=STORYWORLD)
    storyworld.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    for split, count in (("train", 600), ("val", 100), ("test", 100)):
        storyworld.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"stories in {split} (default: {count})"
        )
    storyworld.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed is another world (default: 0)"
    )
    storyworld.set_defaults(act=_storyworld)
    album = made["data album"] = worlds.add_parser("album", description=ALBUM)
    album.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    album.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another album (default: 0)")
    album.set_defaults(act=_album)
    return parser, made


def _find_action(argv: list[str], made: dict[str, _Parser]) -> list[str]:
    """`find enrol ...` is a command of its own; what is no such word is a prompt."""
    actions = [name.removeprefix("find ") for name in made if name.startswith("find ")]
    if argv[:1] != ["find"] or len(argv) == 1 or argv[1].startswith("-"):
        return argv
    if argv[1] in actions:
        return [" ".join(argv[:2]), *argv[2:]]
    if hint := nearest(argv[1], actions):
        raise StoryjaxError(f"there is no 'find {argv[1]}'.{hint} 'storyjax find --help' shows how.")
    return argv


def _run(argv: list[str]) -> int:
    parser, made = _parser()
    argv = _find_action(argv, made)
    names = [name for name in made if " " not in name]
    if argv and not argv[0].startswith("-") and argv[0] not in made:
        raise StoryjaxError(f"there is no command '{argv[0]}'.{nearest(argv[0], names)} Known: {', '.join(names)}.")
    try:
        arguments, extra = parser.parse_known_args(argv)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if extra:
        name = " ".join(filter(None, [arguments.command, getattr(arguments, "world", None)]))
        made.get(name, parser).refuse(extra)
    if arguments.command is None:
        parser.print_help()
        return 0
    return arguments.act(arguments)


def _ask(arguments: argparse.Namespace) -> int:
    from storyjax.data.video import probe

    probe(arguments.video)  # a slip in its name need not wait for the model, nor one in the figure's
    from storyjax.tcr import figure
    from storyjax.tcr.predict import Predictor

    if arguments.figure:
        figure.check_path(arguments.figure)
    predictor = Predictor.from_checkpoint(arguments.checkpoint)
    answer = predictor.ask(arguments.video, arguments.question, arguments.options, arguments.frames)
    for warning in answer.warnings:
        print(f"storyjax: note: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(answer.to_json() | {"checkpoint": predictor.source}, indent=2, ensure_ascii=False))
    else:
        print(answer.in_words())
    if arguments.figure:
        figure.draw(answer, arguments.figure)
    return 0


def _finder(checkpoint: str | None) -> Callable[[str], "Personaliser"]:
    """Loads the model that finds a kind of what can be enrolled: search itself knows no chapter."""

    def load(kind: str) -> "Personaliser":
        given = (checkpoint,) if checkpoint else ()
        if kind == "person":
            from storyjax.clip_pad.predict import PersonFinder

            return PersonFinder.from_checkpoint(*given)
        from storyjax.pi_map.predict import ThingFinder

        return ThingFinder.from_checkpoint(*given)

    return load


def _reproduce(arguments: argparse.Namespace) -> int:
    from storyjax.ledger import find, listing

    if arguments.list:
        print(listing())
        return 0
    if not arguments.table:
        raise StoryjaxError("say which table, for instance 'storyjax reproduce 3.6'; --list shows all.")
    table = find(arguments.table)

    from absl import flags

    from storyjax.ledger.report import markdown
    from storyjax.ledger.runs import reproduce
    from storyjax.train.termination import Stopped

    # Grain's worker processes read absl's flags, which nobody else parses here.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    try:
        report = reproduce(table, arguments.workdir, arguments.seeds, arguments.quick)
    except Stopped as stopped:
        print(f"storyjax: {stopped.message}", file=sys.stderr)
        return 0
    print(markdown(report), end="")
    return 0


def _storyworld(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.nextqa import export_nextqa

    stories = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    folder = export_nextqa(arguments.out, stories, arguments.seed, processes=None)
    print(f"{sum(stories.values())} stories in {folder}; train on them with config.data.manual_dir={folder}")
    return 0


def _album(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.album import export_album

    if not 0 <= arguments.seed < 1000:
        raise StoryjaxError(f"--seed is {arguments.seed}: give 0 to 999")
    folder = export_album(arguments.out, seed=arguments.seed)
    enrolled = sorted(path.name for path in (folder / "photos").iterdir())
    print(f"photos of {', '.join(enrolled)} and {len(list((folder / 'films').iterdir()))} films in {folder}")
    return 0


if __name__ == "__main__":
    main()
