"""`storyjax plan`: what a run takes of a TPU slice."""

import argparse
import json
import sys

PLAN = """\
Compiles the training step and the inference step of a config with the TPU's own compiler, on a machine without any TPU,
and shows what they take of each chip: memory, FLOPs, bytes, and whether they fit. Needs pip install 'storyjax[plan]'.
A full-size step takes about a minute.

  storyjax plan --config=configs/tcr_nextqa.py --topology=v4:4x4x4
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:16x16 --mesh data=128,seq=2
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:4x4 --frames 86400 --mesh seq=16 --batch 1
  storyjax plan --config=configs/tcr_nextqa.py --topology=v5e:1x1 --max-frames --program train

Any key of the config can be set as in training: --config.model.streaming.features=int8. Exit code 0: it fits; 1: it
does not, and what to change is printed; 2: an error.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
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


def _plan(arguments: argparse.Namespace) -> int:
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
