"""`storyjax subtitle`: who says what and when; the work is `storyjax/subtitles/command.py`'s."""

import argparse

SUBTITLE = """\
Writes subtitles that name who speaks, from a video and a cast list with 1 to 10 photos of everybody. Episodes that are
given together share what is learnt of the voices, which names lines of those who are not seen, too.

  storyjax subtitle episode.mp4 --cast cast.json
  storyjax subtitle s01e*.mp4 --cast cast.json --out subtitles --sdh --why why.json
  storyjax subtitle film.mkv --cast cast.json --transcript film.srt --out named.vtt
  storyjax subtitle talk.mp3 --cast cast.json --voices voices --out talk.json

cast.json: {"cast": [{"name": "Ana", "photos": ["ana/1.jpg"], "voices": ["ana.wav"]}]}; "actor" may name whom the photos
show, and "episodes": {"s01e01": ["Ana"]} say who is in which. With samples of voices (also --voices DIR, with
DIR/NAME/*.wav) sound alone is enough. Whom the system does not know is Unknown.

A run that was stopped goes on where it was. `storyjax data series --out DIR` writes a series to try this with.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parser to `commands`, and to `made` by name."""
    parser = made["subtitle"] = commands.add_parser("subtitle", description=SUBTITLE)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="videos, or sound files where voices are given")
    parser.add_argument("--cast", required=True, metavar="FILE", help="the cast list, JSON")
    parser.add_argument("--voices", metavar="DIR", help="samples of voices: DIR/NAME/*.wav or DIR/NAME.wav")
    parser.add_argument(
        "--transcript",
        nargs="+",
        default=[],
        metavar="FILE",
        help="SRT, VTT or JSON for each video; nothing is recognised",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="a file ending in .srt, .vtt, .ass, .rttm or .json; with {} for the video's name, or a folder, for several"
        " (default: beside the video, as .srt)",
    )
    parser.add_argument("--sdh", action="store_true", help="for the deaf: names in capitals, [laughter]")
    parser.add_argument("--why", metavar="FILE", help="also writes the evidence for every line, JSON")
    parser.add_argument("--engine", metavar="NAME", help="faster-whisper (default) or whisperx")
    parser.add_argument("--model", metavar="NAME", help="the speech model, by name or folder (default: tiny.en)")
    parser.add_argument("--language", metavar="CODE", help="en (default), or auto to have it guessed")
    parser.add_argument(
        "--match",
        choices=("query", "photos"),
        default="query",
        help="tell faces by CLIP-PAD's query on whole frames (default), or by the photos alone, around the speaker's"
        " mouth: for series of StoryWorld, or where faces fill half of the picture",
    )
    parser.add_argument("--distance", type=float, metavar="D", help="beyond this distance a voice is Unknown")
    parser.add_argument(
        "--work",
        default="runs/subtitles",
        metavar="DIR",
        help="where stages leave their work (default: runs/subtitles)",
    )
    parser.set_defaults(act=_subtitle)


def _subtitle(given: argparse.Namespace) -> int:
    import dataclasses
    import math

    from storyjax.core.errors import StoryjaxError
    from storyjax.subtitles import command
    from storyjax.subtitles.pipeline import SubtitleConfig

    config = command.with_recognition(SubtitleConfig(), given.engine, given.model, given.language)
    if given.match == "photos":
        config = dataclasses.replace(config, **command.BY_PHOTOS)
    if given.distance is not None:
        if not (math.isfinite(given.distance) and 0 <= given.distance <= 2):
            raise StoryjaxError(f"--distance is {given.distance:g}: cosine distances are from 0 to 2")
        config = dataclasses.replace(config, distance=given.distance)
    request = command.Request(
        given.videos, given.cast, given.out, given.voices, given.transcript, given.sdh, given.why, given.work
    )
    print(command.in_words(command.run(request, config)))
    return 0
