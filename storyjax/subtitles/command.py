"""The work of `storyjax subtitle`: reads the cast list, runs the pipeline and writes the files."""

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs
from storyjax.core.notes import tell
from storyjax.gallery.gallery import Gallery
from storyjax.subtitles.cast import UNKNOWN, Cast, cast_of_voices, read_cast
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.diarise import mean_voices
from storyjax.subtitles.gallery_voices import cast_of_gallery, remember
from storyjax.subtitles.languages import check_language, language_code, sentence_language
from storyjax.subtitles.networks import Networks
from storyjax.subtitles.pipeline import needs_faces, write_json
from storyjax.subtitles.predict import Subtitler
from storyjax.subtitles.records import Subtitles
from storyjax.subtitles.transcripts import parse_transcript
from storyjax.subtitles.voices import VOICES_FILE, Encoder, Voices, read_voices_file, speakers_file
from storyjax.subtitles.writers import FORMATS, known_format, why, write_subtitles, write_text
from storyjax.weights.pretrained import Pretrained
from storyjax.weights.roles import model_for, roles_of, used_line


def needs_faces_of(people: Cast) -> bool:
    """Returns whether any of a gallery's people can be known by face alone."""
    return any(member.voice is None for member in people.members)


@dataclass(frozen=True)
class Request:
    """The arguments of `storyjax subtitle`; paths are as they were given.

    Attributes:
        videos: videos or sound files.
        cast: the file of the cast list; None: speakers are clustered, and called "Speaker 1", "Speaker 2" ...
        out: a file, a pattern or a folder, as `--help` says; None: beside each video, as .srt, or .named.srt where that
            is there already.
        voices: a folder of samples of voices; without a cast list also a voices file.
        transcripts: one for each video, or none.
        sdh: whether subtitles are for the deaf and hard of hearing.
        why: a file for the evidence.
        cache_dir: where the stages keep their results.
        encoding: of the transcripts; None: UTF-8, or what they say themselves.
        video_track, audio_track: of every video, from 1; None: the file's own default.
        speakers: how many there are, where there is no cast list and that is known.
        gallery: a folder of people, in place of a cast list.
        encoder: of voices, where there is a gallery.
        teach: whether the voices of those who are named go into the gallery.
    """

    videos: Sequence[str]
    cast: str | None = None
    out: str | None = None
    voices: str | None = None
    transcripts: Sequence[str] = ()
    sdh: bool = False
    why: str | None = None
    cache_dir: str = "runs/subtitles"
    encoding: str | None = None
    video_track: int | None = None
    audio_track: int | None = None
    speakers: int | None = None
    gallery: str | None = None
    encoder: Encoder | None = None
    teach: bool = False

    @cached_property
    def people(self) -> Cast | None:
        """Those of the gallery who can be named; None without a gallery."""
        if self.gallery is None or self.encoder is None:
            return None
        return cast_of_gallery(Gallery(self.gallery), self.encoder)

    @cached_property
    def cast_list(self) -> Cast | None:
        """The cast list, with the samples of voices that were given, read once; None where speakers are clustered.

        Raises:
            StoryjaxError: what a person can fix, in one line.
        """
        folder = None if self.voices is None else Path(self.voices)
        if self.gallery is not None:
            if self.cast is not None or (folder is not None and self.voices_file is None):
                beside = "--cast" if self.cast is not None else "a folder with --voices"
                raise StoryjaxError(f"--gallery says who there is: leave it or {beside} out")
            # Known voices alone tell strangers apart, too; faces are looked for where somebody has no known voice.
            return self.people if self.people is not None and needs_faces_of(self.people) else None
        if self.cast is not None:
            if self.speakers is not None:
                raise StoryjaxError("--speakers counts speakers without a cast list: leave it or --cast out")
            cast = read_cast(self.cast)
            return cast if folder is None else cast.with_voices(folder)
        if folder is None or folder.is_file() or self.voices_file is not None:
            return None
        return cast_of_voices(folder)

    @property
    def voices_file(self) -> Path | None:
        """The voices file, where one was given instead of a cast list or of samples."""
        if self.cast is not None or self.voices is None:
            return None
        path = Path(self.voices)
        path = path / VOICES_FILE if (path / VOICES_FILE).is_file() else path
        return path if path.suffix.lower() == ".json" or path.is_file() else None

    def wants_laughter(self) -> bool:
        """Returns whether anything that is written shows laughter."""
        return self.sdh or (self.out or "").lower().endswith(".json")


def run(
    request: Request, config: SubtitleConfig, networks: Networks | None = None, uses: str = ""
) -> list[tuple[Path, Subtitles]]:
    """Writes the subtitles of every video, and returns (file, subtitles) of each.

    Args:
        request: what was asked for.
        config: networks and thresholds.
        networks: to be used instead of those that `config` names.
        uses: a line about the networks, which is told once everything that was given is in order.

    Raises:
        StoryjaxError: what a person can fix, in one line.
    """
    videos = [Path(video) for video in request.videos]
    for video in videos:
        if not video.is_file():
            what = "is a folder" if video.is_dir() else "is not there"
            raise StoryjaxError(f"{video} {what}: give the path of a video or of a sound file")
    targets = _targets(videos, request.out)
    if request.why is not None and Path(request.why).suffix.lower() != ".json":
        raise StoryjaxError(f"--why writes JSON: give a file ending in .json, not {request.why}")
    cast = request.cast_list
    if cast is not None:
        _check_episodes(cast, videos)
    if request.transcripts and len(request.transcripts) != len(videos):
        raise StoryjaxError(
            f"{len(videos)} videos and {len(request.transcripts)} transcripts: give one for each video, in their order"
        )
    transcripts = {video.stem: Path(path) for video, path in zip(videos, request.transcripts, strict=False)}
    for path in transcripts.values():
        if not path.is_file():
            raise StoryjaxError(f"the transcript {path} is not there: check the path")
    encoder = None if cast is not None else Encoder.at(config.speaker_encoder.weights)
    known = None if encoder is None else _known_voices(request, encoder)
    read: list[str | os.PathLike[str]] = [*videos, *transcripts.values()]
    read += [file for file in (request.cast, request.voices_file) if file is not None]
    read += [path for member in (cast.members if cast else ()) for path in (*member.photos, *member.voices)]
    outputs = [("--out" if request.out else "the subtitles", target) for target in targets]
    if cast is None:
        outputs += [("the speakers", speakers_file(target)) for target in targets]
    check_outputs([*outputs, ("--why", request.why)], read, make_folders=True)
    for path in transcripts.values():
        for note in parse_transcript(path, request.encoding).notes():
            print(f"storyjax: note: {note}", file=sys.stderr)
    if uses:
        tell(uses)
    made = Subtitler(config, networks).subtitle(
        videos,
        cast,
        transcripts=transcripts,
        cache_dir=request.cache_dir,
        encoding=request.encoding,
        video_track=request.video_track,
        audio_track=request.audio_track,
        laughter=request.wants_laughter(),
        speakers=request.speakers,
        known=known,
    )
    for target, subtitles in zip(targets, made, strict=True):
        write_subtitles(subtitles, target, request.sdh)
        if encoder is not None:
            write_text(speakers_file(target), Voices(encoder, subtitles.speakers).text())
    if request.teach and request.gallery is not None:
        for subtitles in made:
            for line in remember(Gallery(request.gallery), _named_voices(subtitles, request), subtitles.episode):
                tell(line)
    if request.why is not None:
        write_json(Path(request.why), why(made))
    return list(zip(targets, made, strict=True))


def _known_voices(request: Request, encoder: Encoder) -> Voices | None:
    """The voices that are known without a cast list: those of a voices file and of the gallery."""
    voices = None
    if request.voices_file is not None:
        voices = read_voices_file(request.voices_file)
        voices.check_encoder(encoder, request.voices_file)
    for member in request.people.members if request.people is not None else ():
        if member.voice is not None:
            voices = (voices or Voices(encoder)).with_voice(member.name, member.voice)
    return voices


def _named_voices(subtitles: Subtitles, request: Request) -> Voices:
    """The voices of those of the gallery who speak in a video; by faces, of the sentences in which they were seen."""
    people = request.people
    if people is None or request.encoder is None:
        raise StoryjaxError("--teach writes into a gallery: name it with --gallery")
    names, voices = set(people.names), Voices(request.encoder)
    if subtitles.speakers:
        return replace(voices, voices={name: v for name, v in subtitles.speakers.items() if name in names})
    for name in names:
        seen = [i for i, line in enumerate(subtitles.lines) if line.step == "exemplar" and line.name == name]
        seconds = [subtitles.lines[i].end - subtitles.lines[i].start for i in seen]
        for voice in mean_voices(subtitles.vectors[seen], seconds, [0] * len(seen)):
            voices = voices.with_voice(name, voice)
    return voices


def _check_episodes(cast: Cast, videos: Sequence[Path]) -> None:
    """Refuses a list that names episodes but none of these: it is most likely of other files."""
    stems = {video.stem for video in videos}
    if cast.episodes and not stems & set(cast.episodes):
        raise StoryjaxError(
            f"{cast.source} says who is in {', '.join(list(cast.episodes)[:3])}, but not in {sorted(stems)[0]}: name"
            " the episodes as the files are named, or leave them out"
        )


def _targets(videos: Sequence[Path], out: str | None) -> list[Path]:
    """Where each video's subtitles go: beside it, into a folder, or to the one file that was named."""
    if out is None:
        return [_beside(video, ".srt") for video in videos]
    path = Path(out)
    suffix = path.suffix.lower()
    if out.endswith(os.sep) or path.is_dir() or not suffix:
        return [path / f"{video.stem}.srt" for video in videos]
    if suffix == out.lower() or path.name.lower() in FORMATS:  # --out .vtt
        return [_beside(video, known_format(f"x{path.name}")) for video in videos]
    known_format(path)
    if "{}" in path.name:
        return [path.with_name(path.name.replace("{}", video.stem)) for video in videos]
    if len(videos) > 1:
        raise StoryjaxError(
            f"--out {out} is one file for {len(videos)} videos: give a folder, or a name with {{}} for the video's"
        )
    return [path]


def _beside(video: Path, suffix: str) -> Path:
    """The file of subtitles beside a video: what lies there already, and was not asked for by name, stays."""
    plain = video.with_suffix(suffix)
    if not plain.exists():
        return plain
    other = video.with_suffix(f".named{suffix}")
    tell(f"{plain} is there already and stays: the subtitles go to {other.name}")
    return other


def summary(written: Sequence[tuple[Path, Subtitles]]) -> str:
    """Returns what was written, for people."""
    rows = []
    for path, subtitles in written:
        lines = subtitles.lines
        unknown = sum(line.name is None for line in lines)
        names = list(dict.fromkeys(line.name for line in lines if line.name is not None))
        named = f"{len(lines) - unknown} of {', '.join(names)}, {unknown} {UNKNOWN}" if names else f"all {UNKNOWN}"
        said = f"{len(lines)} lines, {named}"
        rows.append(f"{path}: {said}" if lines else f"{path}: no speech was recognised")
    counts = written[0][1].exemplars if written else {}
    if counts:
        rows.append("exemplars: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    elif not any(subtitles.speakers for _, subtitles in written) and any(s.lines for _, s in written):
        rows.append(
            "no line could be named: nobody of the cast was found speaking alone on screen, and no samples of"
            " voices were given; without --cast speakers are called Speaker 1, Speaker 2 ..."
        )
    return "\n".join(rows)


def unneeded_roles(request: Request, model: str | None = None) -> list[str]:
    """Returns the roles whose networks a request does without.

    Args:
        request: what was asked for.
        model: the speech model that was named.
    """
    roles = ["speech"] if model or request.transcripts else []
    try:
        cast = request.cast_list
    except StoryjaxError:
        return roles  # `run` says what is wrong, after what comes before it
    if cast is None or not needs_faces(cast):
        roles += ["sync", "faces"] if request.wants_laughter() else ["sync", "faces", "laughter"]
    return roles


def with_models(
    config: SubtitleConfig, models_dir: str | None, without: Collection[str] = ()
) -> tuple[SubtitleConfig, str]:
    """Returns the config with the networks of the models folder, and a line that says which those are.

    Args:
        config: its own networks stay where the folder has none.
        models_dir: the models folder; None: see `storyjax.weights.roles.models_folder`.
        without: roles that are not needed, or come from elsewhere.

    Raises:
        StoryjaxError: what is in the folder cannot be used.
    """
    names = [role.name for role in roles_of(["subtitle"]) if role.name not in without]
    choices = {name: model_for(name, models_dir, "subtitle") for name in names}
    networks = {"voices": "speaker_encoder", "sync": "lwtnet", "laughter": "laughter"}
    found = {name: choice for name, choice in choices.items() if choice.origin in ("imported", "own")}
    changes: dict[str, Any] = {key: Pretrained(found[name].place) for name, key in networks.items() if name in found}
    if "speech" in found:
        changes["recognition"] = replace(config.recognition, model=found["speech"].place)
    return replace(config, **changes), used_line("subtitle", list(choices.values()))


def with_recognition(
    config: SubtitleConfig, engine: str | None, model: str | None, language: str | None
) -> SubtitleConfig:
    """Returns the config with the command line's options of recognition; "auto" has the language detected.

    Raises:
        StoryjaxError: there is no such language, or the model does not know it.
    """
    language = language if language in (None, "auto") else language_code(language)
    changes: dict[str, Any] = {"engine": engine, "model": model, "language": language}
    recognition = replace(config.recognition, **{k: v for k, v in changes.items() if v is not None})
    if recognition.language == "auto":
        recognition = replace(recognition, language=None)
    check_language(recognition)
    return replace(
        config, recognition=recognition, sentence_language=sentence_language(language, config.sentence_language)
    )


def calibrate_voices(folder: str, models_dir: str | None, save: bool) -> str:
    """Returns what `storyjax subtitle calibrate` says of the voice encoder that `storyjax subtitle` uses, line by line.

    Args:
        folder: of samples of voices.
        models_dir: the models folder; None: see `storyjax.weights.roles.models_folder`.
        save: whether the distance is kept in the encoder's folder.

    Raises:
        StoryjaxError: what a person can fix, in one line; nothing is then written.
    """
    from storyjax.subtitles.calibrate import calibrate, report, save_distance
    from storyjax.subtitles.speaker_encoder import SpeakerEncoder

    choice = model_for("voices", models_dir, "subtitle")
    if line := used_line("subtitle", [choice]):
        tell(line)
    found, pieces = calibrate(Path(folder), SpeakerEncoder.from_pretrained(choice.place))
    lines = report(found, pieces, choice.place)
    if save:
        lines.append(f"{save_distance(choice.place, found.distance)}: distance {found.distance:g} is used from now on")
    else:
        lines.append(f"--save keeps it in the encoder's folder; --distance {found.distance:g} takes it once")
    return "\n".join(lines)
