"""The cast list: characters, photos of them or samples of their voices, and who is in which episode.

    {"cast": [{"name": "Jerry", "actor": "Jerry Seinfeld", "photos": ["jerry/1.jpg"], "voices": ["jerry/1.wav"]}],
     "episodes": {"Seinfeld_03x05": ["Jerry", "Elaine"]}}

`actor` (the name in CLIP-PAD's queries, §6.1.4; else `name` is), `photos` (1 to 10), `voices` and `episodes` may be
left out; paths are relative to the file.
"""

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.notes import tell
from storyjax.data.audio import load_audio
from storyjax.data.images import SUFFIXES, ImageError, read_image
from storyjax.subtitles.voices import Voice

MOST_PHOTOS = 10  # §6.1.1: 1 to 10
UNKNOWN = "Unknown"
_SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".mp4", ".mkv")


@dataclass(frozen=True)
class Member:
    """One of the cast.

    Attributes:
        name: the character's, as subtitles show it.
        actor: the name in CLIP-PAD's queries.
        photos: 1 to 10 image files, or none.
        voices: sound files with this voice alone.
        voice: what is known of the voice already.
        vectors: what is known of the face already, by the role and the network of a gallery: ("face", fingerprint).
    """

    name: str
    actor: str
    photos: tuple[Path, ...] = ()
    voices: tuple[Path, ...] = ()
    voice: Voice | None = field(default=None, compare=False)
    vectors: Mapping[tuple[str, str], Float32[np.ndarray, "_ _"]] = field(default_factory=dict, compare=False)

    @property
    def has_voice(self) -> bool:
        """Whether there are samples of the voice, or it is known."""
        return bool(self.voices) or self.voice is not None


@dataclass(frozen=True)
class Cast:
    """A cast list.

    Attributes:
        members: in the order of the list.
        episodes: by the video's name without its ending, the names of those who are in it.
        source: the file, for messages.
    """

    members: tuple[Member, ...]
    episodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = "the cast list"

    def of(self, episode: str) -> tuple[Member, ...]:
        """Returns those who are in an episode; all, where the list does not say."""
        names = self.episodes.get(episode)
        return self.members if names is None else tuple(m for m in self.members if m.name in names)

    @property
    def names(self) -> tuple[str, ...]:
        """The characters' names, in the order of the list."""
        return tuple(member.name for member in self.members)

    def with_voices(self, folder: Path) -> "Cast":
        """Returns the same with the samples in `folder`/NAME/ (or `folder`/NAME.wav) added.

        Raises:
            StoryjaxError: no such folder, or no sample of anybody in it.
        """
        if not folder.is_dir():
            raise StoryjaxError(f"{folder} is no folder: --voices takes one with a folder of sound files for each name")
        members, found = [], 0
        for member in self.members:
            own = folder / member.name
            files = (
                sorted(p for p in own.iterdir() if p.suffix.lower() in _SOUNDS and p.name[0] != ".")
                if own.is_dir()
                else []
            )
            files += [p for s in _SOUNDS if (p := folder / f"{member.name}{s}").is_file()]
            found += len(files)
            members.append(replace(member, voices=(*member.voices, *files)))
        if not found:
            raise StoryjaxError(
                f"{folder} holds no sound file for anybody of {self.source}: it takes"
                f" {folder}/{self.members[0].name}/*.wav"
            )
        return replace(self, members=tuple(members))


def read_cast(path: str | os.PathLike[str]) -> Cast:
    """Returns the cast list of a JSON file. Raises StoryjaxError: what is wrong with it, and where."""
    path = Path(path)
    try:
        given = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise StoryjaxError(f"the cast list {path} cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:
        raise StoryjaxError(f"the cast list {path} is no JSON ({error}): write {{'cast': [...]}} with \"") from error
    entries = given.get("cast") if isinstance(given, dict) else given
    if not isinstance(entries, list) or not entries:
        raise StoryjaxError(f'{path} lists nobody: write {{"cast": [{{"name": "Ana", "photos": ["ana.jpg"]}}]}}')
    members = tuple(_member(path, number, entry) for number, entry in enumerate(entries, 1))
    seen: dict[str, str] = {}
    for member in members:
        plain = unicodedata.normalize("NFKC", member.name).casefold()
        if plain in seen:
            raise StoryjaxError(
                f"{path} has '{member.name}' twice: give each character one entry with all their photos, or another"
                " name"
            )
        seen[plain] = member.name
    episodes = given.get("episodes", {}) if isinstance(given, dict) else {}
    return Cast(members, _episodes(path, episodes, [m.name for m in members]), str(path))


def cast_of_voices(folder: Path) -> Cast:
    """Returns a cast list of those whose samples are in a folder: folder/NAME/*.wav or folder/NAME.wav, any format.

    Raises:
        StoryjaxError: no such folder, or no sample in it.
    """
    if not folder.is_dir():
        raise StoryjaxError(f"{folder} is not there: --voices takes a voices file, or a folder with samples of voices")
    inside = [p for p in sorted(folder.iterdir()) if p.name[0] != "." and (p.is_dir() or p.suffix.lower() in _SOUNDS)]
    names = dict.fromkeys(clean_name(p.name if p.is_dir() else p.stem, str(p)) for p in inside)
    if not names:
        raise StoryjaxError(f"{folder} holds neither samples of voices (NAME/*.wav, NAME.wav) nor a voices.json")
    cast = Cast(tuple(Member(name, name) for name in names), source=str(folder)).with_voices(folder)
    return replace(cast, members=tuple(member for member in cast.members if member.voices))


def _member(path: Path, number: int, entry: Any) -> Member:
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise StoryjaxError(f'{where} has no name: write {{"name": "Ana", "photos": [...]}}')
    if unknown := sorted(set(entry) - {"name", "actor", "photos", "voices"}):
        raise StoryjaxError(f"{where}: unknown '{unknown[0]}'.{nearest(unknown[0], ('actor', 'photos', 'voices'))}")
    name = clean_name(entry["name"], where)
    actor = entry.get("actor") or name
    if not isinstance(actor, str):
        raise StoryjaxError(f"{where} ('{name}'): actor is no text")
    photos, voices = (_paths(path, where, name, entry, key) for key in ("photos", "voices"))
    if len(photos) > MOST_PHOTOS:
        raise StoryjaxError(f"{where} ('{name}') has {len(photos)} photos: {MOST_PHOTOS} are enough, keep the clearest")
    return Member(name, actor, photos, voices)


def clean_name(name: str, where: str) -> str:
    """Returns a name as it is shown: any script, single spaces. Raises StoryjaxError: empty, or control characters."""
    tidy = " ".join(unicodedata.normalize("NFC", name).split())
    hidden = [c for c in tidy if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c in "\u2028\u2029"]
    if hidden:
        raise StoryjaxError(f"{where}: the name {tidy!r} holds the character U+{ord(hidden[0]):04X}: leave it out")
    if not tidy:
        raise StoryjaxError(f"{where}: the name is empty")
    if tidy.casefold() == UNKNOWN.casefold():
        raise StoryjaxError(f"{where}: '{tidy}' stands for unknown speakers: give another name")
    return tidy


def _paths(path: Path, where: str, name: str, entry: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    given = entry.get(key, [])
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise StoryjaxError(f"{where} ('{name}'): {key} must be a list of paths")
    found: list[Path] = []
    for item in given:
        one = path.parent / item
        if one.is_dir():
            endings = SUFFIXES if key == "photos" else _SOUNDS
            inside = sorted(p for p in one.iterdir() if p.suffix.lower() in endings and p.name[0] != ".")
            if not inside:
                raise StoryjaxError(f"{where} ('{name}'): the folder {one} holds no {key}")
            found += inside
        elif one.is_file():
            found.append(one)
        else:
            raise StoryjaxError(f"{where} ('{name}'): {one} is not there; paths are relative to {path.parent}")
    return tuple(found)


def _episodes(path: Path, given: Any, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, dict):
        raise StoryjaxError(f'{path}: episodes must be like {{"Show_01x01": ["Ana", "Ben"]}}')
    for episode, there in given.items():
        if not isinstance(there, list) or not there:
            raise StoryjaxError(f"{path}: episode '{episode}' must list the names of who is in it")
        for name in there:
            if name not in names:
                raise StoryjaxError(
                    f"{path}: '{name}' of episode '{episode}' is not in the cast.{nearest(str(name), names)}"
                )
    return {episode: tuple(there) for episode, there in given.items()}


def read_photos(member: Member) -> tuple[list[Path], list[UInt8[np.ndarray, "_ _ 3"]]]:
    """Returns somebody's photos that can be read, and their images; those that cannot are named as notes.

    Raises:
        StoryjaxError: there are photos, and none of them can be read; the message names the first.
    """
    paths, images, errors = [], [], []
    for photo in member.photos:
        try:
            images.append(read_image(photo))
            paths.append(photo)
        except ImageError as error:
            errors.append(f"{photo}, a photo of '{member.name}', cannot be used: {error}")
    if errors and not paths:
        raise StoryjaxError(errors[0])
    for line in errors:
        tell(line)
    return paths, images


def read_voices(member: Member) -> list[np.ndarray]:
    """Returns the samples of somebody's voice at 16 kHz. Raises StoryjaxError for one that is silent or too short."""
    waves = []
    for sample in member.voices:
        wave = load_audio(sample)
        if len(wave) < 8000 or float(np.abs(wave).max()) < 1e-3:
            raise StoryjaxError(
                f"{sample}, a sample of the voice of '{member.name}', is silent or shorter than half a second"
            )
        waves.append(wave)
    return waves
