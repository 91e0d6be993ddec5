"""`storyjax plan`: what a run takes of a TPU slice."""

import argparse
import json
import pathlib
import sys

PLAN = """\
Compiles the training step and the inference step of a config with the TPU's own compiler, on a machine without any TPU,
and shows what they take of each chip: memory, FLOPs, bytes, and whether they fit. Needs pip install 'storyjax[plan]'.
A full-size step takes about a minute.

  storyjax plan --config=configs/tcr_nextqa.py --topology=v4:4x4x4
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:16x16 --mesh data=128,seq=2
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:4x4 --frames 86400 --mesh seq=16 --batch 1
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:1x1 --max-frames --program train

  storyjax plan --all --out runs/plan --only 'tcr_*'

--all compiles every program of every config's variants of full size, each for the slice that its config names, into a
table; it takes an hour or more, and goes on where it was stopped.

Any key of the config can be set as in training: --config.model.streaming.features=int8. Exit code 0: it fits; 1: it
does not, and what to change is printed; 2: an error.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    plan = made["plan"] = commands.add_parser("plan", description=PLAN)
    what = plan.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE[:VARIANT]", help="a file of configs/")
    what.add_argument("--all", action="store_true", help="all configs' variants of full size, into a table")
    plan.add_argument(
        "--topology", metavar="NAME", help="a TPU slice, for instance v5e:4x4 (default: the one that the config names)"
    )
    plan.add_argument("--out", metavar="DIR", default="runs/plan", help="of --all: where the table goes")
    plan.add_argument("--only", metavar="PATTERN", default="*", help="of --all: names, such as 'mqt_*' or '*:paper'")
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


def _plan(arguments: argparse.Namespace) -> int:
    if arguments.all:
        return _all(arguments)
    from storyjax.plan.compile import PROGRAMS, Request, make_plan
    from storyjax.plan.report import table, to_json

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


def _all(arguments: argparse.Namespace) -> int:
    """The table of all configs; what is for one config alone is refused."""
    from storyjax.core.errors import StoryjaxError
    from storyjax.plan.full_size import TABLE, plan_all

    given = {"--frames": arguments.frames, "--mesh": arguments.mesh, "--batch": arguments.batch}
    given |= {"--max-frames": arguments.max_frames or None, "--json": arguments.json or None}
    alone = [name for name, value in given.items() if value is not None] + list(arguments.overrides)
    if alone:
        raise StoryjaxError(f"--all plans every config as it is: leave out {', '.join(alone)}.")
    folder = pathlib.Path(arguments.out)
    fits = plan_all(folder, arguments.only, arguments.topology, lambda line: print(line, file=sys.stderr, flush=True))
    print(folder / TABLE)
    return 0 if fits else 1
