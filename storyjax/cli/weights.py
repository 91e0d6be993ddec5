"""`storyjax import` and `storyjax export`: weights in and out."""

import argparse
import sys

from storyjax.core.errors import StoryjaxError

IMPORT = """\
Converts published weights to a folder with model.safetensors, config.json and the tokenizer, which configs and commands
read. It takes safetensors as models are published on the Hugging Face hub (a folder, or an id to download), and with
torch installed the state dicts of LAVIS, OpenAI's CLIP, OpenCLIP and others. Missing or unknown tensors are an error.

  storyjax import --list               all names, and where each is published
  storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out weights/blip2-flan-t5-xl
  storyjax import flan-t5-base --from downloads/flan-t5-base --out weights/flan-t5-base --dtype bfloat16
  storyjax import t5 --from my-t5 --out weights/my-t5     any size, as its config.json says
"""
EXPORT = """\
Writes the model of a run as a file for other programs.

  storyjax export runs/tcr --to safetensors --out exported/tcr    parameters that this run trained, and its config
  storyjax export runs/tcr --to orbax --out exported/tcr          the same as an Orbax checkpoint
  storyjax export runs/tcr --to stablehlo --out exported/tcr      the model's functions, which run with JAX alone

Each folder has a README that describes its contents and how to load them.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers of import and export to `commands`, and to `made` by name."""
    imports = made["import"] = commands.add_parser("import", description=IMPORT)
    imports.add_argument("model", nargs="?", metavar="MODEL", help="a name of --list, for instance flan-t5-xl")
    imports.add_argument("--list", action="store_true", help="list all names")
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


def _import(arguments: argparse.Namespace) -> int:
    from storyjax.weights.registry import listing

    if arguments.list:
        print(listing())
        return 0
    if not (arguments.model and arguments.places and arguments.out):
        raise StoryjaxError(
            "say what, from where and where to: storyjax import MODEL --from PLACE --out DIR (or --list)"
        )
    from storyjax.weights.import_weights import import_model

    imported = import_model(arguments.model, arguments.places, arguments.out, arguments.dtype)
    print(imported.in_words())
    for note in imported.notes:
        print(f"storyjax: note: {note}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from storyjax.weights.export_run import export_run

    print(export_run(arguments.run, arguments.to, arguments.out))
    return 0
