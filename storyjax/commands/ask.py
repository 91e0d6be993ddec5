"""`storyjax ask`: a question about a video."""

import argparse
import json
import sys

ASK = """\
Answers a question about a video (mp4, mkv, webm, avi and what else FFmpeg reads), with probabilities, and tells which
moments it looked at.

  storyjax ask story.mp4 "what did ana do right after ben danced ?" --options "sang" "jumped" "read the book"
  storyjax ask story.mp4 "who danced ?" --figure looked.png
  storyjax ask film.mkv "where did he read the book ?" --checkpoint runs/tcr_nextqa --frames 64 --json

The model that comes with storyjax is small and has seen nothing but StoryWorld (`storyjax data storyworld --help`): it
knows that world's words only, and what it says of other videos is a guess.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
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
