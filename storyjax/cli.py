"""The `storyjax` command, for people: `storyjax --help` tells what it can do.

Whatever takes long to import is imported by the subcommand that needs it, so that help and slips answer at once.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import storyjax
from storyjax.errors import StoryjaxError, nearest
from storyjax.main import leave

ABOUT = """\
Understands stories in videos: ask questions about them, and check what the thesis claims.

  storyjax ask VIDEO "question"        answers a question about a video
  storyjax reproduce TABLE             makes a table of the thesis on StoryWorld and tells which claims hold
  storyjax data storyworld --out DIR   writes a world of small videos with questions, to train and test on
  storyjax import MODEL --from PLACE   makes published weights (BLIP-2, T5, CLIP, SigLIP) ours
  storyjax export RUN --to FORMAT      makes a trained model a file for other programs
  storyjax plan --topology TPU ...     tells, without any TPU, whether a run fits one and how many frames do

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
PLAN = """\
Compiles the training step and the inference step of a config with the TPU's own compiler, on a machine without any TPU,
and tells what they take of each chip: memory, FLOPs, bytes, and whether they fit. Needs pip install 'storyjax[plan]'.
A full-size step takes about a minute.

  storyjax plan --config=configs/tcr_nextqa.py --topology=v4:4x4x4
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:16x16 --mesh data=128,seq=2
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:4x4 --frames 86400 --mesh seq=16 --batch 1
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:1x1 --max-frames --program train

Any key of the config can be set as in training: --config.model.streaming.features=int8. Exit code 0: it fits; 1: it
does not, and what to change is told; 2: an error.
"""
DATA = """\
Writes data sets to train and test on.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features
"""
FEATURES = """\
Computes what the frozen vision tower of a config sees in each film of its data set, once, and writes it to DIR/train
and so on; training then reads it instead of decoding films: --config.data.features=DIR.

  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features
  storyjax data features --config=configs/tcr_nextqa.py --out features --splits train val --dtype int8 \\
      --beam="--runner=FlinkRunner --flink_master=localhost:8081"
  python -m storyjax.main --config=configs/tcr_nextqa.py:embedded --workdir=DIR --config.data.features=runs/features

The work is cut into shards, which Apache Beam (pip install 'storyjax[beam]') spreads over this machine or a cluster
whose workers see the same paths. Stopped in whatever way and given again, the command keeps the shards that are whole.

Of each of the config's data.frames segments of a training film, --draws frames are stored, and training draws one of
them; of the other splits the frame that evaluation looks at.
"""
STORYWORLD = """\
Writes StoryWorld, seeded stories as mp4 files with questions about them, in the official layout of NExT-QA: train.csv,
val.csv, test.csv, map_vid_vidorID.json and the folder NExTVideo. stories/ has what is true of each story. A world that
is there already is left as it is.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
"""
IMPORT = """\
Makes published weights ours: a folder with model.safetensors, config.json and the tokenizer, as configs and commands
take it. It reads the safetensors that models are published in on the Hugging Face hub (a folder, or an id to download),
and with torch installed the state dicts of LAVIS, OpenAI's CLIP and OpenCLIP. A checkpoint that lacks a tensor, or has
one more, is refused.

  storyjax import --list               all names, and where each is published
  storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out weights/blip2-flan-t5-xl
  storyjax import flan-t5-base --from downloads/flan-t5-base --out weights/flan-t5-base --dtype bfloat16
  storyjax import t5 --from my-t5 --out weights/my-t5     any size, as its config.json says
"""
EXPORT = """\
Makes a trained model a file for other programs, from the folder of a run.

  storyjax export runs/tcr --to safetensors --out exported/tcr    parameters that this run trained, and its config
  storyjax export runs/tcr --to orbax --out exported/tcr          the same as an Orbax checkpoint
  storyjax export runs/tcr --to stablehlo --out exported/tcr      the model's functions, which run with JAX alone

Each has a README that says what is in it and how to load it.
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

    plan = made["plan"] = commands.add_parser("plan", description=PLAN)
    plan.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="a file of configs/")
    plan.add_argument("--topology", required=True, metavar="NAME", help="a TPU slice, for instance v5e:4x4")
    frames = plan.add_mutually_exclusive_group()
    frames.add_argument("--frames", type=int, metavar="N", help="frames of a video (default: the config's)")
    frames.add_argument(
        "--max-frames",
        action="store_true",
        help="searches for the most that fit: one video on all chips, unless --mesh or --batch say otherwise",
    )
    plan.add_argument(
        "--mesh", metavar="AXES", help="chips along each axis: data=4,fsdp=2,seq=2 (default: the config's)"
    )
    plan.add_argument("--batch", type=int, metavar="N", help="videos of a global batch (default: the config's)")
    plan.add_argument("--program", choices=("train", "inference", "both"), default="both", help="(default: both)")
    plan.add_argument("--json", action="store_true", help="prints the plan as one JSON object, sizes in bytes")
    plan.set_defaults(act=_plan)

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

    imports = made["import"] = commands.add_parser("import", description=IMPORT)
    imports.add_argument("model", nargs="?", metavar="MODEL", help="a name of --list, for instance flan-t5-xl")
    imports.add_argument("--list", action="store_true", help="shows all names")
    imports.add_argument(
        "--from", nargs="+", dest="places", metavar="PLACE", help="a folder, a file or a Hugging Face id; or its parts"
    )
    imports.add_argument("--out", metavar="DIR", help="a new or empty folder")
    imports.add_argument("--dtype", metavar="TYPE", help="float32, bfloat16 or float16 (default: as published)")
    imports.set_defaults(act=_import)

    exports = made["export"] = commands.add_parser("export", description=EXPORT)
    exports.add_argument("run", metavar="RUN", help="the workdir of a run")
    exports.add_argument("--to", required=True, metavar="FORMAT", help="safetensors, orbax or stablehlo")
    exports.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    exports.set_defaults(act=_export)
    features = made["data features"] = worlds.add_parser("features", description=FEATURES)
    features.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="of NExT-QA fine-tuning")
    features.add_argument("--out", required=True, metavar="DIR", help="a folder of their own")
    features.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="default: train, and what the config evaluates on"
    )
    features.add_argument("--dtype", default="bfloat16", help="bfloat16 (default), float16 or int8")
    features.add_argument("--draws", type=int, default=3, metavar="N", help="frames of a segment, odd (default: 3)")
    features.add_argument("--shard-films", type=int, default=64, metavar="N", help="films of a shard (default: 64)")
    features.add_argument("--beam", default="", metavar="OPTIONS", help="Beam's own options, in one string")
    features.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes the config: --set data.frames=24"
    )
    features.set_defaults(act=_features)
    return parser, made


def _run(argv: list[str]) -> int:
    parser, made = _parser()
    names = [name for name in made if " " not in name]
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        raise StoryjaxError(f"there is no command '{argv[0]}'.{nearest(argv[0], names)} Known: {', '.join(names)}.")
    try:
        arguments, extra = parser.parse_known_args(argv)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if arguments.command == "plan":
        arguments.overrides = [argument for argument in extra if re.match(r"--config\.[\w.]+=", argument)]
        extra = [argument for argument in extra if argument not in arguments.overrides]
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


def _plan(arguments: argparse.Namespace) -> int:
    from storyjax.train.plan import PROGRAMS, Request, make_plan
    from storyjax.train.plan_report import table, to_json

    request = Request(
        arguments.config,
        arguments.topology,
        tuple(tuple(text.removeprefix("--config.").split("=", 1)) for text in arguments.overrides),
        arguments.mesh,
        arguments.frames,
        arguments.max_frames,
        arguments.batch,
        PROGRAMS if arguments.program == "both" else (arguments.program,),
    )
    plan = make_plan(request, lambda line: print(line, file=sys.stderr))
    print(json.dumps(to_json(plan), indent=2) if arguments.json else table(plan))
    return 0 if plan.fits else 1


def _storyworld(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.nextqa import export_nextqa

    stories = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    folder = export_nextqa(arguments.out, stories, arguments.seed, processes=None)
    print(f"{sum(stories.values())} stories in {folder}; train on them with config.data.manual_dir={folder}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from storyjax.weights.published import listing

    if arguments.list:
        print(listing())
        return 0
    if not (arguments.model and arguments.places and arguments.out):
        raise StoryjaxError(
            "say what, from where and where to: storyjax import MODEL --from PLACE --out DIR (or --list)"
        )
    from storyjax.weights.importing import import_model

    imported = import_model(arguments.model, arguments.places, arguments.out, arguments.dtype)
    print(imported.in_words())
    for note in imported.notes:
        print(f"storyjax: note: {note}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from storyjax.weights.exporting import export_run

    print(export_run(arguments.run, arguments.to, arguments.out))
    return 0


def _features(arguments: argparse.Namespace) -> int:
    import functools
    import shlex

    from storyjax.configuration import choose, load_config, override
    from storyjax.data.beam import run_shards
    from storyjax.data.builders.nextqa import SPLITS
    from storyjax.data.features import DTYPES
    from storyjax.tcr.features import compute_features
    from storyjax.train.settings import CHAPTER_SECTIONS, complete

    config = complete(load_config(arguments.config))
    for pair in arguments.set:
        key, _, value = pair.partition("=")
        override(config, key, value, open_sections=CHAPTER_SECTIONS)
    if config.experiment != "tcr":
        raise StoryjaxError(f"{arguments.config} is no config of NExT-QA fine-tuning, such as configs/tcr_nextqa.py.")
    if arguments.shard_films < 1:
        raise StoryjaxError(f"--shard-films is {arguments.shard_films}; it must be at least 1.")
    splits = arguments.splits or ["train", config.data.get("eval_split", "val")]
    made = compute_features(
        config,
        arguments.out,
        [choose(split, SPLITS, "--splits") for split in splits],
        dtype=choose(arguments.dtype, DTYPES, "--dtype"),
        draws=arguments.draws,
        shard_films=arguments.shard_films,
        run=functools.partial(run_shards, options=shlex.split(arguments.beam)),
    )
    for split, (new, total) in made.items():
        print(f"{split}: {total} shards in {arguments.out}/{split}, {new} of them made now")
    print(f"train on them with --config.data.features={arguments.out}")
    return 0


if __name__ == "__main__":
    main()
