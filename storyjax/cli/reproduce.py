"""`storyjax reproduce`: a table of the thesis."""

import argparse
import sys

from storyjax.core.errors import StoryjaxError

REPRODUCE = """\
Trains and evaluates every variant that a table of the thesis compares, on StoryWorld, and prints its numbers beside the
thesis's and which of its claims hold. Runs that are there already are used again, and interrupted ones are resumed, so
the same command can be given at any time.

  storyjax reproduce --list            all tables
  storyjax reproduce 3.6               all of Table 3.6, three seeds
  storyjax reproduce 3.6a --seeds 1    one part of it, one seed
  storyjax reproduce 3.6 --quick       a few steps of each run: numbers that mean nothing, to see that all runs
  storyjax reproduce 3.4 --data real   the full-size configs on the data set itself; what is missing is named

The table also goes to WORKDIR/3.6.md and WORKDIR/3.6.json; single results of fig4.3, right and wrong marked, to
WORKDIR/fig4.3.html.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    reproduce = made["reproduce"] = commands.add_parser("reproduce", description=REPRODUCE)
    reproduce.add_argument("table", nargs="?", metavar="TABLE", help="the thesis's number, for instance 3.6 or 3.6a")
    reproduce.add_argument("--list", action="store_true", help="lists all tables")
    reproduce.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    reproduce.add_argument(
        "--workdir", default="runs/reproduce", metavar="DIR", help="where the runs go (default: runs/reproduce)"
    )
    reproduce.add_argument("--data", default="storyworld", metavar="WHICH", help="storyworld (default) or real")
    reproduce.add_argument("--quick", action="store_true", help="a few steps of each run, into WORKDIR/quick")
    reproduce.set_defaults(act=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from storyjax.core.config import choose
    from storyjax.reproduce import find, listing
    from storyjax.reproduce.schema import on_real_data

    if arguments.list:
        print(listing())
        return 0
    if not arguments.table:
        raise StoryjaxError("say which table, for instance 'storyjax reproduce 3.6'; --list shows all.")
    table = find(arguments.table)
    workdir = arguments.workdir
    if choose(arguments.data, ("storyworld", "real"), "--data") == "real":
        if arguments.quick:
            raise StoryjaxError("--quick is for StoryWorld: what is made on the real data is whole")
        table, workdir = on_real_data(table), f"{workdir}/real"

    from absl import flags

    from storyjax.reproduce.report import markdown
    from storyjax.reproduce.runner import reproduce
    from storyjax.train.termination import Stopped

    # Grain's worker processes read absl's flags, which nobody else parses here.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    try:
        report = reproduce(table, workdir, arguments.seeds, arguments.quick)
    except Stopped as stopped:
        print(f"storyjax: {stopped.message}", file=sys.stderr)
        return 0
    print(markdown(report), end="")
    return 0
