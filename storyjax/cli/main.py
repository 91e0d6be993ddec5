"""The `storyjax` command: `storyjax --help` lists what it can do.

Whatever takes long to import is imported by the subcommand that needs it, so that help comes at once.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import storyjax
from storyjax.cli import (
    app,
    ask,
    data,
    find,
    gallery,
    models,
    plan,
    reproduce,
    story,
    story_ask,
    subtitle,
    track,
    train,
    weights,
)
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.notes import printed
from storyjax.core.runtime import prepare_runtime
from storyjax.main import leave, report_errors

ABOUT = """\
Understands stories in videos: answers questions about them, tracks, finds people and things, and writes subtitles that
name the speaker. Trains and measures the systems that do so.

  storyjax ask VIDEO "question"          answers a question about a video
  storyjax track VIDEO_OR_FOLDER         tracks everything that moves, of whatever kind
  storyjax find "An image of <NAME>"     finds people and things that were enrolled from photos, in videos and images
  storyjax gallery add NAME PHOTOS       keeps the people and things that all of these know by name
  storyjax subtitle VIDEO --cast FILE    writes subtitles that name who speaks
  storyjax story VIDEO... --out DIR      all of these at once: who is in a film, when, with whom, saying what
  storyjax story ask DIR "question"      answers who, when, where and what is said, from a story's tables
  storyjax app DIR                       shows a story in the browser, where it can be searched and corrected

  storyjax train CONFIG --workdir DIR    trains an experiment and evaluates it
  storyjax eval CONFIG --workdir DIR     evaluates a run
  storyjax predict CONFIG --workdir DIR  writes the files of challenges, for their servers
  storyjax plan --topology TPU ...       shows, without any TPU, whether a run fits one, and how many frames do
  storyjax reproduce TABLE               measures a table of the thesis on StoryWorld, and whether its claims hold

  storyjax data storyworld --out DIR     writes a world of small videos with questions, to train and test on
  storyjax models                        published models for each command: which, how large, from where, and gets them
  storyjax import MODEL --from PLACE     imports published weights (BLIP-2, T5, CLIP, SigLIP ...)
  storyjax export RUN --to FORMAT        exports a trained model for other programs

`storyjax COMMAND --help` explains each with examples. Compiled programs are kept in the user's cache folder, so that a
command starts faster the second time: STORYJAX_CACHE=DIR moves them, STORYJAX_CACHE=off keeps none.
"""
# Commands whose second word may be an action, and those of them where it may be something else.
_ACTIONS = ("find", "gallery", "story")
_FREE = ("find", "story")


def main() -> NoReturn:
    """The command: runs what the process was given, and ends it with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± or █ is no reason to fail
    leave(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit code.

    0: done, or stopped by SIGTERM with the state saved. 2: an error that a person can fix, in one line. 130: Ctrl-C.
    """
    return report_errors(lambda: _run(list(argv)), "interrupted")


class _Parser(argparse.ArgumentParser):
    """Errors are one line that names the nearest known spelling."""

    def __init__(self, **settings: Any):
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

    for module in (
        ask,
        track,
        find,
        gallery,
        subtitle,
        story,
        story_ask,
        app,
        train,
        plan,
        reproduce,
        data,
        models,
        weights,
    ):
        module.add(commands, made)
    return parser, made


def _with_action(argv: list[str], made: dict[str, _Parser]) -> list[str]:
    """`find enrol ...` is a command of its own, as of all commands in _ACTIONS; after `find` what is no such word is a
    prompt, and after `story` a film."""
    if not argv or argv[0] not in _ACTIONS or len(argv) == 1 or argv[1].startswith("-"):
        return argv
    actions = [name.partition(" ")[2] for name in made if name.startswith(f"{argv[0]} ")]
    if argv[1] in actions:
        return [" ".join(argv[:2]), *argv[2:]]
    hint = nearest(argv[1], actions)
    if argv[0] in _FREE and (not hint or Path(argv[1]).exists()):
        return argv
    known = "" if hint else f" Known: {', '.join(actions)}."
    raise StoryjaxError(f"there is no '{argv[0]} {argv[1]}'.{hint}{known} 'storyjax {argv[0]} --help' shows how.")


def _parse(parser: _Parser, made: dict[str, _Parser], argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and what no parser knows. A command's words may stand before, between and after its flags."""
    arguments, extra = parser.parse_known_args(argv)
    command = made.get(argv[0]) if argv else None
    if command is None or command._subparsers is not None or all(word.startswith("-") for word in extra):
        return arguments, extra
    return command.parse_known_intermixed_args(argv[1:], argparse.Namespace(command=argv[0]))


def _run(argv: list[str]) -> int:
    parser, made = _parser()
    argv = _with_action(argv, made)
    names = [name for name in made if " " not in name]
    if argv and not argv[0].startswith("-") and argv[0] not in made:
        raise StoryjaxError(f"there is no command '{argv[0]}'.{nearest(argv[0], names)} Known: {', '.join(names)}.")
    if argv and argv[0] in train.COMMANDS:
        return train.run(argv)
    try:
        arguments, extra = _parse(parser, made, argv)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if arguments.command == "plan":
        arguments.overrides = [argument for argument in extra if re.match(r"--config\.[\w.]+=", argument)]
        extra = [argument for argument in extra if argument not in arguments.overrides]
    if extra:
        words = [arguments.command, *(getattr(arguments, name, None) for name in ("world", "action"))]
        name = " ".join(filter(None, words))
        made.get(name, parser).refuse(extra)
    if arguments.command is None:
        parser.print_help()
        return 0
    prepare_runtime()
    with printed():
        return arguments.act(arguments)


if __name__ == "__main__":
    main()
