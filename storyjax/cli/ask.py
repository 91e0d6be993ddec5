"""`storyjax ask`: a question about a video."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from storyjax.cli.models import add_models_flag
from storyjax.cli.tracks import add_track_flags
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, files_of, json_text, write_atomically

if TYPE_CHECKING:
    from storyjax.tcr.predict import Answer, Predictor

ASK = """\
Answers a question about a video (mp4, mkv, webm, avi and what else FFmpeg reads), with probabilities, and the
moments that it looked at. An image is taken as a video of one frame.

  storyjax ask story.mp4 "what did ana do right after ben danced ?" --options "sang" "jumped" "read the book"
  storyjax ask story.mp4 "who danced ?" --figure looked.png
  storyjax ask video.mkv "where did he read the book ?" --checkpoint runs/tcr_nextqa --frames 64 --json
  storyjax ask story.mp4 --caption 6-8                     what happens from second 6 to second 8
  storyjax ask story.mp4 --when "ana danced"               when something happens
  storyjax ask video.mp4 --anticipate "take cup@0, wash cup@1.5"      what comes next (@: the second it began at)
  storyjax ask clip.mp4 --count "kicking the ball"         how many times

Without training: `storyjax models get ask` (15.8 GB) brings BLIP-2, which then answers questions about any video,
freely or from --options. It is no TCR: its Q-Former looks at 8 frames, the same for every question; with --options, of
--frames 16 and more each clip of 8 answers by itself, and the mean counts. A TCR that you trained is named by
--checkpoint.

The model that comes with storyjax is small and has seen nothing but StoryWorld (`storyjax data storyworld --help`): it
knows that world's words only, and what it says of other videos is a guess.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    ask = made["ask"] = commands.add_parser("ask", description=ASK)
    ask.add_argument("video", metavar="VIDEO", help="path of the video")
    ask.add_argument("question", nargs="?", help='in quotes, for instance "who danced ?"')
    ask.add_argument("--caption", metavar="START-END", help="what happens in a segment, in seconds: 6-8")
    ask.add_argument("--when", metavar="SENTENCE", help="when something happens")
    ask.add_argument(
        "--anticipate",
        nargs="?",
        const="",
        metavar="ACTIONS",
        help="what comes next, after these actions: 'take cup@0, wash cup@1.5', with the seconds that they begin"
        " at where they are known (default checkpoint: the small one that was taught it)",
    )
    ask.add_argument(
        "--count",
        nargs="?",
        const="",
        metavar="ACTION",
        help="counts repetitions, of an action where it is named (other checkpoints: those of tcr_countix)",
    )
    ask.add_argument(
        "--options", nargs="+", metavar="OPTION", help="two to eight answers to choose from; without, it answers freely"
    )
    ask.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="a run's workdir, a folder with model.safetensors and config.json, a BLIP-2, or shipped:NAME (default: the"
        " models folder's BLIP-2 where there is one, else the small model that comes with storyjax)",
    )
    add_models_flag(ask)
    ask.add_argument("--frames", type=int, metavar="N", help="frames to look at (default: as many as in training)")
    add_track_flags(ask)
    ask.add_argument("--figure", metavar="PNG", help="where to draw the frames with the attention they got")
    ask.add_argument("--json", action="store_true", help="prints everything as one JSON object")
    ask.set_defaults(act=_ask)


def _ask(arguments: argparse.Namespace) -> int:
    from PIL import Image

    from storyjax.data.video import is_still, probe

    _check_one(arguments)
    # A slip in its name need not wait for the model, nor one in the name of the figure.
    probe(arguments.video, track=arguments.video_track)
    from storyjax.tcr import figure
    from storyjax.weights.roles import tell_shipped

    if arguments.figure:
        figure.check_path(arguments.figure)
        check_outputs([("--figure", arguments.figure)], files_of(arguments.video, arguments.checkpoint))
    if arguments.count is not None:
        from storyjax.tcr.predict_tasks import SHIPPED_COUNTER, count

        answer = count(arguments.checkpoint, arguments.video, arguments.count, arguments.video_track)
        source = str(arguments.checkpoint or SHIPPED_COUNTER)
        tell_shipped("ask", arguments.checkpoint)
    else:
        predictor = _predictor(arguments)
        answer, source = _answer(predictor, arguments), predictor.source
    if is_still(arguments.video):
        print(f"storyjax: note: {arguments.video} is an image: taken as a video of one frame", file=sys.stderr)
    for warning in answer.warnings:
        print(f"storyjax: note: {warning}", file=sys.stderr)
    if arguments.json:
        print(json_text(answer.to_json() | {"checkpoint": source}, indent=2))
    else:
        print(answer.in_words())
    if arguments.figure:
        drawn, kind = figure.draw(answer), Image.registered_extensions()[Path(arguments.figure).suffix.lower()]
        write_atomically(arguments.figure, lambda path: drawn.save(path, kind))
    return 0


def _check_one(arguments: argparse.Namespace) -> None:
    """One thing is asked at a time."""
    asked = {
        "a question": arguments.question,
        "--caption": arguments.caption,
        "--when": arguments.when,
        "--anticipate": arguments.anticipate,
        "--count": arguments.count,
    }
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are too many" if given else "nothing is asked"
        raise StoryjaxError(f"{said}: give one of {', '.join(asked)}; 'storyjax ask --help' shows how.")
    if arguments.options and arguments.question is None:
        raise StoryjaxError(f"--options are for a question, not for {given[0]}")
    if arguments.count is not None and arguments.frames is not None:
        raise StoryjaxError("--frames is not for --count: a model counts in as many frames as it was trained on")
    if arguments.caption is not None:
        from storyjax.tcr.predict_tasks import parse_segment

        parse_segment(arguments.caption)


def _checkpoint(arguments: argparse.Namespace) -> str | None:
    """The weights that were asked for; of those that ship, only some were taught what comes next."""
    from storyjax.tcr.predict_tasks import SHIPPED_AHEAD

    known = arguments.checkpoint is not None or arguments.anticipate is None
    return arguments.checkpoint if known else SHIPPED_AHEAD


def _predictor(arguments: argparse.Namespace) -> "Predictor":
    """What answers: the checkpoint that was asked for; for a question the models folder's BLIP-2; else what ships."""
    from storyjax.tcr.blip2 import is_blip2, load_blip2
    from storyjax.tcr.predict import Predictor
    from storyjax.weights.roles import model_for, tell_shipped

    place = arguments.checkpoint
    if place is None and arguments.question is not None:
        choice = model_for("ask", arguments.models)
        place = choice.place if choice.origin in ("imported", "own") else None
    if place is None or not is_blip2(place):
        loaded = Predictor.from_pretrained(_checkpoint(arguments) if place is None else place)
        tell_shipped("ask", place)
        return loaded
    if arguments.question is None:
        raise StoryjaxError(f"{place} is a BLIP-2, which answers questions alone: ask one, or name a TCR's checkpoint")
    predictor = load_blip2(place)
    print(f"storyjax: note: ask: {place} answers ({predictor.method})", file=sys.stderr)
    return predictor


def _answer(predictor: "Predictor", arguments: argparse.Namespace) -> "Answer":
    """What the predictor says to the one thing asked."""
    from storyjax.tcr import predict_tasks

    video, frames, track = arguments.video, arguments.frames, arguments.video_track
    if arguments.caption is not None:
        return predict_tasks.caption(predictor, video, *predict_tasks.parse_segment(arguments.caption), frames, track)
    if arguments.when is not None:
        return predict_tasks.when(predictor, video, arguments.when, frames, track)
    if arguments.anticipate is not None:
        return predict_tasks.anticipate(predictor, video, arguments.anticipate, frames, track)
    return predictor.ask(video, arguments.question, arguments.options, frames, track)
