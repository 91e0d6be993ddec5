"""`storyjax ask`: a question about a video."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from storyjax.cli.models import add_models_flag
from storyjax.cli.tracks import add_track_flags
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, files_of, json_text, write_atomically

if TYPE_CHECKING:
    from storyjax.tcr.answer import Answer
    from storyjax.tcr.predict import Predictor

ASK = """\
Answers a question about a video (mp4, mkv, webm, avi and what else FFmpeg reads), with probabilities, and the
moments that it looked at. An image is taken as a video of one frame.

  storyjax ask story.mp4 "what did ana do right after ben danced ?" --options "sang" "jumped" "read the book"
  storyjax ask story.mp4 "who danced ?" --figure looked.png
  storyjax ask video.mkv "where did he read the book ?" --checkpoint runs/tcr_nextqa --frames 64 --json
  storyjax ask story.mp4 "who danced ?" "where ?" --json   several questions, whose answers are a list
  storyjax ask story.mp4 --questions questions.txt         one question a line; the model is loaded once
  storyjax ask story.mp4 --caption 6-8                     what happens from second 6 to second 8
  storyjax ask story.mp4 --when "ana danced"               when something happens
  storyjax ask video.mp4 --anticipate "take cup@0, wash cup@1.5"      what comes next (@: the second it began at)
  storyjax ask clip.mp4 --count "kicking the ball"         how many times

Without training: `storyjax models get ask` (15.8 GB) brings BLIP-2, which then answers questions about any video,
freely or from --options, and says what is to be seen (--caption, of the whole video without START-END). It is no TCR:
its Q-Former looks at 8 frames, the same for every question; with --options, of --frames 16 and more each clip of 8
answers by itself, and the mean counts. Its parts are in memory one after the other; a model that does not fit is
refused before anything is read. A TCR that you trained is named by --checkpoint.

The model that comes with storyjax is small and has seen nothing but StoryWorld (`storyjax data storyworld --help`): it
knows that world's words only, and what it says of other videos is a guess.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    ask = made["ask"] = commands.add_parser("ask", description=ASK)
    ask.add_argument("video", metavar="VIDEO", help="path of the video")
    ask.add_argument("question", nargs="*", help='in quotes, for instance "who danced ?"; several are answered in turn')
    ask.add_argument("--questions", metavar="FILE", help="a text file with a question in every line")
    ask.add_argument(
        "--caption",
        nargs="?",
        const="",
        metavar="START-END",
        help="what happens in a segment, in seconds: 6-8; BLIP-2 takes the whole video where none is given",
    )
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
    ask.add_argument(
        "--beams",
        type=int,
        metavar="N",
        help="for free answers: follows N partial answers at a time and takes the likeliest (default: as the"
        " generation_config.json beside a BLIP-2 says, else 1, the likeliest word each time)",
    )
    ask.add_argument(
        "--ignore-memory", action="store_true", help="loads a BLIP-2 even if it needs more memory than is free"
    )
    ask.add_argument("--frames", type=int, metavar="N", help="frames to look at (default: as many as in training)")
    add_track_flags(ask)
    ask.add_argument("--figure", metavar="PNG", help="where to draw the frames with the attention they got")
    ask.add_argument("--json", action="store_true", help="prints everything as one JSON object")
    ask.set_defaults(act=_ask)


def _ask(arguments: argparse.Namespace) -> int:
    from storyjax.data.video import is_still, probe

    questions = _questions(arguments)
    _check_one(arguments, questions)
    # A slip in its name need not wait for the model, nor one in the name of the figure.
    probe(arguments.video, track=arguments.video_track)
    from storyjax.tcr import figure
    from storyjax.weights.roles import tell_shipped

    if arguments.figure:
        figure.check_path(arguments.figure)
        read = files_of(arguments.video, arguments.checkpoint, arguments.questions)
        check_outputs([("--figure", arguments.figure)], read)
    if arguments.count is not None:
        from storyjax.tcr.predict_tasks import SHIPPED_COUNTER, count

        answers = [count(arguments.checkpoint, arguments.video, arguments.count, arguments.video_track)]
        source = str(arguments.checkpoint or SHIPPED_COUNTER)
        tell_shipped("ask", arguments.checkpoint)
    else:
        predictor = _predictor(arguments, questions)
        answers, source = _answers(predictor, arguments, questions), predictor.source
    if is_still(arguments.video):
        print(f"storyjax: note: {arguments.video} is an image: taken as a video of one frame", file=sys.stderr)
    _show(answers, source, arguments, several=len(questions) > 1 or arguments.questions is not None)
    return 0


def _show(answers: "Sequence[Answer]", source: str, arguments: argparse.Namespace, several: bool) -> None:
    """Prints the answers, of several questions each below its own, or as a list; and draws the figure."""
    from PIL import Image

    from storyjax.tcr import figure

    for warning in dict.fromkeys(warning for answer in answers for warning in answer.warnings):
        print(f"storyjax: note: {warning}", file=sys.stderr)
    if arguments.json:
        objects = [answer.to_json() | {"checkpoint": source} for answer in answers]
        print(json_text(objects if several else objects[0], indent=2))
    else:
        texts = [
            f"question: {answer.question}\n{answer.in_words()}" if several else answer.in_words() for answer in answers
        ]
        print("\n\n".join(texts))
    if arguments.figure:
        drawn, kind = figure.draw(answers[0]), Image.registered_extensions()[Path(arguments.figure).suffix.lower()]
        write_atomically(arguments.figure, lambda path: drawn.save(path, kind))


def _questions(arguments: argparse.Namespace) -> list[str]:
    """The questions of the command line, then those of the file, whose empty lines are none."""
    if arguments.questions is None:
        return list(arguments.question)
    try:
        lines = Path(arguments.questions).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"--questions {arguments.questions} cannot be read: {error}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise StoryjaxError(f"--questions {arguments.questions} has no question: write one in every line")
    return [*arguments.question, *found]


def _check_one(arguments: argparse.Namespace, questions: Sequence[str]) -> None:
    """One thing is asked at a time, of which questions may be several."""
    asked = {
        "a question": questions or None,
        "--caption": arguments.caption,
        "--when": arguments.when,
        "--anticipate": arguments.anticipate,
        "--count": arguments.count,
    }
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are too many" if given else "nothing is asked"
        raise StoryjaxError(f"{said}: give one of {', '.join(asked)}; 'storyjax ask --help' shows how.")
    if arguments.options and not questions:
        raise StoryjaxError(f"--options are for a question, not for {given[0]}")
    if arguments.count is not None and arguments.frames is not None:
        raise StoryjaxError("--frames is not for --count: a model counts in as many frames as it was trained on")
    if arguments.figure and len(questions) > 1:
        raise StoryjaxError(f"--figure is of one question, not of {len(questions)}: ask the others without it")
    if arguments.beams is not None:
        if arguments.beams < 1:
            raise StoryjaxError(f"--beams {arguments.beams}: give 1, the likeliest word each time, or more")
        if arguments.options or arguments.when is not None or arguments.count is not None:
            what = "--options" if arguments.options else given[0]
            raise StoryjaxError(f"--beams is for answers in free words, not for {what}: leave it out")
    if arguments.caption:
        from storyjax.tcr.predict_tasks import parse_segment

        parse_segment(arguments.caption)


def _checkpoint(arguments: argparse.Namespace) -> str | None:
    """The weights that were asked for; of those that ship, only some were taught what comes next."""
    from storyjax.tcr.predict_tasks import SHIPPED_AHEAD

    known = arguments.checkpoint is not None or arguments.anticipate is None
    return arguments.checkpoint if known else SHIPPED_AHEAD


def _predictor(arguments: argparse.Namespace, questions: Sequence[str]) -> "Predictor":
    """What answers: the checkpoint that was asked for; for questions and captions the models folder's BLIP-2; else what
    ships."""
    from storyjax.tcr.blip2 import is_blip2, load_blip2
    from storyjax.tcr.predict import Predictor
    from storyjax.weights.roles import model_for, tell_shipped

    place, can = arguments.checkpoint, bool(questions) or arguments.caption is not None
    if place is None and can:
        choice = model_for("ask", arguments.models)
        place = choice.place if choice.origin in ("imported", "own") else None
    if place is None or not is_blip2(place):
        predictor = Predictor.from_pretrained(_checkpoint(arguments) if place is None else place)
        tell_shipped("ask", place)
    elif not can:
        asked = "--when" if arguments.when is not None else "--anticipate"
        raise StoryjaxError(
            f"{place} is a BLIP-2, which answers questions and captions, not {asked}: name a TCR's checkpoint"
        )
    else:
        predictor = load_blip2(place, ignore_memory=arguments.ignore_memory)
        print(f"storyjax: note: ask: {place} answers ({predictor.method})", file=sys.stderr)
    if arguments.beams is not None:
        predictor.decoding = replace(predictor.decoding, beams=arguments.beams)
    return predictor


def _answers(predictor: "Predictor", arguments: argparse.Namespace, questions: Sequence[str]) -> "list[Answer]":
    """What the predictor says to whatever is asked."""
    from storyjax.tcr import predict_tasks
    from storyjax.tcr.blip2 import Blip2Predictor

    video, frames, track = arguments.video, arguments.frames, arguments.video_track
    if questions:
        return predictor.ask_all(video, questions, arguments.options, frames, track)
    if arguments.caption is not None:
        segment = predict_tasks.parse_segment(arguments.caption) if arguments.caption else None
        if isinstance(predictor, Blip2Predictor):
            return [predictor.caption(video, segment, frames, track)]
        if segment is None:
            raise StoryjaxError("--caption: a TCR describes a segment; give its start and end in seconds, such as 6-8")
        return [predict_tasks.caption(predictor, video, *segment, frames, track)]
    if arguments.when is not None:
        return [predict_tasks.when(predictor, video, arguments.when, frames, track)]
    return [predict_tasks.anticipate(predictor, video, arguments.anticipate, frames, track)]
