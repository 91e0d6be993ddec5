"""`storyjax subtitle`: writes subtitles that name the speakers; the work is done by `storyjax/subtitles/command.py`."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storyjax.cli.faces import add_face_flags
from storyjax.cli.gallery import add_gallery_flag
from storyjax.cli.models import add_models_flag
from storyjax.cli.tracks import add_track_flags

if TYPE_CHECKING:
    from storyjax.subtitles.voices import Encoder

ACTIONS = ("name", "forget", "calibrate")
SUBTITLE = """\
Writes subtitles that name the speaker of every line. Without a cast list speakers are told apart by their voices and
called Speaker 1, Speaker 2 ...; `subtitle name` gives them names and remembers their voices for other episodes:

  storyjax subtitle episode1.mp4 --out episode1.srt                         # --speakers 3 where there are three
  storyjax subtitle name episode1.srt "Speaker 2"=Ana --voices voices.json  # or "Speaker 2"=Ana "Speaker 3"=Ben
  storyjax subtitle episode2.mp4 --voices voices.json --out episode2.srt

Their voices are in episode1.speakers.json beside the subtitles; without that file names change and no voice is
remembered. A wrong name is taken back by naming again, or forgotten:

  storyjax subtitle name episode1.srt Ana=Ben --voices voices.json           # the voice is Ben's, no longer Ana's
  storyjax subtitle forget Ana --voices voices.json

In place of voices.json a gallery may keep the people (`storyjax gallery --help`), with their faces and voices:

  storyjax subtitle name episode1.srt "Speaker 2"=Ana --gallery runs/gallery
  storyjax subtitle episode2.mp4 --gallery runs/gallery --teach             # and learns more of the voices it knows

Where somebody in it has pictures and no known voice, faces are looked for as with a cast list.

With a cast list (1 to 10 photos of each person, or samples of voices) everybody has a name at once.
Speech is recognised, faces are matched with the photos where one person is seen speaking, and the voices heard there
then name all other lines, also those spoken off-screen. Episodes that are given together share these voices. A speaker
who matches nobody in the cast list is called Unknown.

  storyjax subtitle episode.mp4 --cast cast.json
  storyjax subtitle s01e*.mp4 --cast cast.json --out subtitles --sdh --why why.json
  storyjax subtitle video.mkv --cast cast.json --transcript video.srt --out named.vtt
  storyjax subtitle talk.mp3 --cast cast.json --voices voices --out talk.json

cast.json: {"cast": [{"name": "Ana", "photos": ["ana/1.jpg"], "voices": ["ana.wav"]}]}. Optional keys: "actor", the name
of the person in the photos, if it is not the character's; and "episodes": {"s01e01": ["Ana"]}, who is in which episode.
With samples of voices (in the cast list, or with --voices) sound without video is enough; where everybody has some,
and nobody photos, images are not looked at.

Networks come from the models folder (`storyjax models list` shows which, `storyjax models get subtitle` gets them), and
where it has none from what ships with storyjax, which knows StoryWorld's synthetic world only. A line says which.

How far apart one person's voice may be differs between encoders. `calibrate` measures it on samples of at least two
people (FOLDER/NAME/*.wav or FOLDER/NAME.wav), and says which --distance to take; --save keeps it in the models folder:

  storyjax subtitle calibrate voices

A run that was stopped continues where it was. `storyjax data series --out DIR` writes a synthetic series to try it on;
use --match photos with it.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parser to `commands`, and to `made` by name."""
    parser = made["subtitle"] = commands.add_parser("subtitle", description=SUBTITLE)
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, or sound files unless people are known by photos alone; or name FILE OLD=NEW ...,"
        " forget NAME ..., calibrate FOLDER (a file that is called so is meant first: ./name is always the file)",
    )
    parser.add_argument("--cast", metavar="FILE", help="the cast list, a JSON file as described above")
    parser.add_argument(
        "--voices",
        metavar="DIR",
        help="samples of voices: DIR/NAME/*.wav or DIR/NAME.wav, other formats too; without --cast also a voices file"
        " (FILE.json) that `subtitle name` writes, and which it takes as well (default there: voices.json beside FILE)",
    )
    add_gallery_flag(
        parser, does="a folder of people by their faces and voices, in place of --cast; `subtitle name` teaches it"
    )
    parser.add_argument(
        "--teach", action="store_true", help="the gallery learns the voices of its people from these videos"
    )
    parser.add_argument(
        "--speakers", type=int, metavar="N", help="how many speakers there are (without --cast; default: by --distance)"
    )
    parser.add_argument(
        "--transcript",
        nargs="+",
        default=[],
        metavar="FILE",
        help="an SRT, VTT or JSON file for each video, in their order; speech is then not recognised",
    )
    parser.add_argument(
        "--encoding", metavar="NAME", help="of the transcripts: cp1250, utf-16 ... (default: UTF-8, or it is detected)"
    )
    add_track_flags(parser, audio=True)
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="where to write: a file ending in .srt, .vtt, .ass, .rttm or .json; for several videos a folder, or a file"
        " name with {} in place of the video's name (default: beside each video, as .srt, or .named.srt"
        " where there is one already)",
    )
    parser.add_argument(
        "--sdh",
        action="store_true",
        help="subtitles for the deaf and hard of hearing: names in capitals, and [laughter]",
    )
    parser.add_argument(
        "--why", metavar="FILE", help="also write the evidence for every name (face, voice distances), as JSON"
    )
    parser.add_argument("--engine", metavar="NAME", help="speech recogniser: faster-whisper (default) or whisperx")
    parser.add_argument(
        "--model", metavar="NAME", help="speech model, a name or a folder (default: the models folder's, else tiny.en)"
    )
    parser.add_argument(
        "--language", metavar="CODE", help="language of the speech: en (default), de, German ...; auto detects it"
    )
    parser.add_argument(
        "--match",
        choices=("query", "photos"),
        default="query",
        help="how faces are matched: by CLIP-PAD's query on whole frames (default), or by the photos alone, around the"
        " speaker's mouth: for StoryWorld's series, or where faces fill half of the image",
    )
    add_face_flags(parser)
    parser.add_argument(
        "--distance",
        type=float,
        metavar="D",
        help="cosine distance (0 to 2) beyond which a voice is Unknown or another speaker's (default: the voice"
        " encoder's own); lower: more lines are Unknown, or more speakers",
    )
    parser.add_argument(
        "--save", action="store_true", help="of calibrate: keep the distance in the voice encoder's folder"
    )
    parser.add_argument(
        "--work",
        default="runs/subtitles",
        metavar="DIR",
        help="folder for the results of each stage, from which a stopped run continues (default: runs/subtitles)",
    )
    add_models_flag(parser)
    parser.set_defaults(act=_subtitle)


def _subtitle(given: argparse.Namespace) -> int:
    import dataclasses
    import math

    from storyjax.core.errors import StoryjaxError
    from storyjax.subtitles import command
    from storyjax.subtitles.config import BY_PHOTOS, SubtitleConfig

    if _is_action(given.videos):
        print(_act(given))
        return 0
    if given.save:
        raise StoryjaxError("--save keeps the distance of storyjax subtitle calibrate: leave it out")
    if given.teach and given.gallery is None:
        raise StoryjaxError("--teach writes into a gallery: name it with --gallery")
    if given.speakers is not None and given.speakers < 1:
        raise StoryjaxError(f"--speakers is {given.speakers}: give 1 or more, or leave it out")
    request = command.Request(
        *(given.videos, given.cast, given.out, given.voices, given.transcript, given.sdh, given.why, given.work),
        encoding=given.encoding,
        video_track=given.video_track,
        audio_track=given.audio_track,
        speakers=given.speakers,
        gallery=given.gallery,
        encoder=_voice_encoder(given.models) if given.gallery is not None else None,
        teach=given.teach,
    )
    config, uses = command.with_models(SubtitleConfig(), given.models, command.unneeded_roles(request, given.model))
    config = command.with_recognition(config, given.engine, given.model, given.language)
    config = dataclasses.replace(config, face_detector=given.face_detector, pick=given.pick)
    if given.match == "photos":
        config = dataclasses.replace(config, **BY_PHOTOS)
    if given.distance is not None:
        if not (math.isfinite(given.distance) and 0 <= given.distance <= 2):
            raise StoryjaxError(f"--distance is {given.distance:g}: cosine distances are from 0 to 2")
        config = dataclasses.replace(config, distance=given.distance)
    print(command.summary(command.run(request, config, uses=uses)))
    return 0


def _voice_encoder(models: str | None) -> "Encoder":
    """The voice encoder that a run will use."""
    from storyjax.subtitles.config import SubtitleConfig
    from storyjax.subtitles.voices import Encoder
    from storyjax.weights.roles import model_for

    choice = model_for("voices", models, "subtitle")
    ships = choice.origin not in ("imported", "own")
    return Encoder.at(SubtitleConfig().speaker_encoder.weights if ships else choice.place)


def _is_action(words: Sequence[str]) -> bool:
    """Whether the first word is name, forget or calibrate, not a video that is called so.

    A file of that name is the video, but where what follows can only be new names (OLD=NEW).
    """
    first, rest = words[0], words[1:]
    if first not in ACTIONS:
        return False
    return not os.path.isfile(first) or any("=" in word and not os.path.exists(word) for word in rest)


def _act(given: argparse.Namespace) -> str:
    """Does what name, forget or calibrate ask for, and returns what was done."""
    from storyjax.core.errors import StoryjaxError

    action, rest = given.videos[0], given.videos[1:]
    if given.save and action != "calibrate":
        raise StoryjaxError("--save keeps the distance of storyjax subtitle calibrate: leave it out")
    if action == "calibrate":
        from storyjax.subtitles.command import calibrate_voices

        if len(rest) != 1:
            raise StoryjaxError("calibrate takes one folder: storyjax subtitle calibrate FOLDER, with NAME/*.wav in it")
        return calibrate_voices(rest[0], given.models, given.save)
    from storyjax.subtitles.rename import forget, name_speakers

    if given.teach:
        raise StoryjaxError("--teach is for the subtitles of videos: leave it out")
    if action == "forget" and given.gallery is not None:
        raise StoryjaxError(f"of a gallery 'storyjax gallery forget NAME --gallery {given.gallery}' forgets")
    if action == "forget":
        return forget(rest, given.voices)
    if not rest:
        raise StoryjaxError('name what? write storyjax subtitle name FILE "Speaker 2"=Ana')
    return name_speakers(rest[0], rest[1:], given.voices, given.out, given.gallery)
