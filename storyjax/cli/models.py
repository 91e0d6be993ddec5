"""`storyjax models`: what the commands need, what there is, and how to get more."""

import argparse
import json
import sys
from typing import Any

from storyjax.core.errors import StoryjaxError

MODELS = """\
Shows what each command needs, and which published models serve it: sizes, licences, and where they come from.

  storyjax models                                  the table
  storyjax models list                             what is in the models folder, and what each command will use
  storyjax models get voices                       downloads a model of the Hugging Face hub, and imports it
  storyjax models get sync --from avobjects_loc_sep.pt     imports what was downloaded by hand; needs no network

A role is one thing that a command needs. Each has its folder in the models folder: --models DIR, else $STORYJAX_MODELS,
else among the user's data (~/.local/share/storyjax/models). Without it a command uses what comes with storyjax, which
knows StoryWorld's synthetic world alone, and says so. `off` in place of a folder has every command do that.
"""
LIST = """\
Shows what is in the models folder, and what each command will use: imported weights, a folder of your own, or what
ships with storyjax.

  storyjax models list
  storyjax models list --check                     compares the files with the SHA-256 recorded when they were fetched
  storyjax models list --json
"""
GET = """\
Imports published models into the models folder, one for each role, as `storyjax import` does: safetensors, and with
torch installed .bin, .pt, .pth and .ckpt; alone or in shards. Speech models are kept as they are published.

  storyjax models get ask                          BLIP-2 with Flan-T5-XL, 15.8 GB
  storyjax models get find --model clip-vit-l-14   another than the first of the table
  storyjax models get voices speech                several roles; a command's name stands for all that it can use
  storyjax models get subtitle --from downloads    what is in a folder, under the names that it is published by
  storyjax models get find --from my-clip          any size of CLIP or SigLIP, as its config.json says

A download that was stopped goes on where it was. What was fetched stays in the hub's cache (~/.cache/huggingface), and
may be deleted there. Models that are not on the hub are downloaded by hand, from the page that the table names.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    models = made["models"] = commands.add_parser("models", description=MODELS)
    models.set_defaults(act=_table)
    actions = models.add_subparsers(dest="action", prog="storyjax models", metavar="COMMAND", help=argparse.SUPPRESS)
    listing = made["models list"] = actions.add_parser("list", description=LIST)
    listing.add_argument("--check", action="store_true", help="compares files with their recorded SHA-256")
    listing.add_argument("--json", action="store_true", help="prints one JSON object for each role, in a list")
    listing.set_defaults(act=_list)
    get = made["models get"] = actions.add_parser("get", description=GET)
    get.add_argument("roles", nargs="+", metavar="ROLE", help="a role of the table, or a command that needs several")
    get.add_argument("--from", dest="source", metavar="DIR_OR_FILE", help="what was downloaded; else the hub is asked")
    get.add_argument("--model", metavar="NAME", help="a model of the table (default: the role's first)")
    get.add_argument("--dtype", metavar="TYPE", help="float32, bfloat16 or float16 (default: as published)")
    get.add_argument("--replace", action="store_true", help="replaces the model that the role has")
    get.set_defaults(act=_get)
    for parser in (listing, get):
        add_models_flag(parser)


def add_models_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --models to a command that takes weights from the models folder."""
    parser.add_argument(
        "--models",
        metavar="DIR",
        help="the models folder, or 'off' (default: $STORYJAX_MODELS, else a folder among the user's data)",
    )


def _table(_: argparse.Namespace) -> int:
    from storyjax.weights import roles

    titles = ("role", "for", "model", "size", "licence", "from")
    rows: list[tuple[str, ...]] = []
    last = ""
    for role, command, *rest in roles.table():
        rows.append(("", "", *rest) if role == last else (role, command, *rest))
        last = role
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    for row in (titles, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    waiting = [role.name for role in roles.ROLES.values() if not role.ready]
    print(
        "\n'storyjax models get ROLE' takes the first model of a role. What is on a page, not on the hub, is yours to"
        "\ndownload, and its terms yours to accept; then 'storyjax models get ROLE --from FILE'."
        + (f"\nFor training only, as no command uses it yet: {', '.join(waiting)}." if waiting else "")
    )
    return 0


def _list(given: argparse.Namespace) -> int:
    from storyjax.weights.get_models import listing
    from storyjax.weights.roles import models_folder

    found = listing(given.models, given.check, progress=sys.stderr.isatty())
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"models folder: {models_folder(given.models) or 'off'}")
        for entry in found:
            print(f"{entry['role']:9} {', '.join(entry['commands']):21} {_in_words(entry)}")
    problems = [entry["problem"] for entry in found if entry["problem"]]
    if problems:
        more = f"; and {len(problems) - 1} more of the folder's models" if len(problems) > 1 else ""
        raise StoryjaxError(problems[0] + more)
    return 0


def _in_words(entry: dict[str, Any]) -> str:
    if entry["problem"]:
        return f"cannot be used: {entry['problem']}"
    size = f", {entry['bytes'] / 1e9:.2f} GB, from {entry['from']}" if entry["bytes"] else ""
    there = f"{entry['model'] or 'your own'}{size}" if entry["there"] else ""
    if entry["uses"] in ("imported", "own"):
        return there
    else_used = "what ships, for StoryWorld only" if entry["uses"] == "ships" else "what --model names (tiny.en)"
    return f"{else_used}; there is {there}, which no command uses yet" if there else else_used


def _get(given: argparse.Namespace) -> int:
    from storyjax.weights import roles
    from storyjax.weights.get_models import get

    wanted: list[roles.Role] = []
    for name in given.roles:
        needed = roles.roles_of([name])
        wanted += needed if name in roles.ROLES else [role for role in needed if role.serves(name)] or needed
    wanted = list(dict.fromkeys(wanted))
    if given.model and len(wanted) > 1:
        raise StoryjaxError(f"--model is for one role, not for {', '.join(role.name for role in wanted)}")
    errors: list[StoryjaxError] = []
    for role in wanted:
        try:
            got = get(
                *(role, given.models, given.source, given.model, given.dtype, given.replace),
                by_name=len(wanted) > 1,
            )
        except StoryjaxError as error:
            errors.append(error)
            continue
        print(got.line)
        for note in got.notes:
            print(f"storyjax: note: {note}", file=sys.stderr)
    for earlier in errors[:-1]:  # the rest goes on
        print(f"storyjax: error: {earlier}", file=sys.stderr)
    if errors:
        raise errors[-1]
    return 0
