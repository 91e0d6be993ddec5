"""What is said in a film: sentences with times, the voice of each, and which are of one voice (`storyjax.subtitles`).

Names are none of this stage's business: names.py gives them, by voices and by who is seen.
"""

import importlib.util
import sqlite3
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.notes import tell
from storyjax.story.mouths import PLACES, find_mouths, looks_for_mouths
from storyjax.story.options import StoryOptions
from storyjax.story.rows import Film, Utterance, Vector
from storyjax.story.store import Story
from storyjax.subtitles import command
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.predict import Subtitler
from storyjax.subtitles.recognition import model_place
from storyjax.subtitles.records import Subtitles
from storyjax.subtitles.stages import file_state, network_source
from storyjax.subtitles.voices import Encoder

WORK = ".work"  # folder of the stages of speech, inside the story's


@dataclass(frozen=True)
class Speech:
    """The networks of speech, as `storyjax subtitle` chooses them, and whether mouths that move are looked for."""

    config: SubtitleConfig
    mouths: bool = False

    @classmethod
    def choose(cls, options: StoryOptions) -> "Speech":
        """Returns those of the models folder, or what ships."""
        without = ["faces", "laughter", *(["speech"] if options.speech_model else [])]
        config, _ = command.with_models(SubtitleConfig(), options.models, without)
        config = command.with_recognition(config, options.engine, options.speech_model, options.language)
        return cls(replace(config, distance=options.distance), looks_for_mouths(options))

    @property
    def voices(self) -> Encoder:
        """The encoder of voices."""
        return Encoder.at(self.config.speaker_encoder.weights)

    def settings(self, transcript: Path | None) -> dict[str, Any]:
        """Returns, as JSON, all that its result depends on besides the film."""
        heard = {"transcript": file_state(transcript)} if transcript else asdict(self.config.recognition)
        return {
            "voices": network_source(self.config.speaker_encoder.weights),
            "distance": self.config.distance,
            "mouths": network_source(self.config.lwtnet.weights) if self.mouths else None,
            **heard,
        }

    def can_recognise(self) -> bool:
        """Whether speech can be recognised without a transcript: its package and its model are at hand."""
        if importlib.util.find_spec(self.config.recognition.engine.replace("-", "_")) is None:
            return False
        return Path(model_place(self.config.recognition.model)).is_dir()


@dataclass(frozen=True)
class Heard:
    """The sentences of a film with a label for each voice, and where mouths move with them, if that was looked for."""

    said: Subtitles
    mouths: list[list[list[float]]] | None


def hear(film: Film, media: Path, speech: Speech, transcript: Path | None, work: Path) -> Heard | None:
    """Returns what is heard in a film; None where nothing can be heard, which is told."""
    if not film.has_audio:
        tell(f"{film.name} has no sound: nothing is said in it")
        return None
    if transcript is None and not speech.can_recognise():
        tell(
            f"{film.name}: what is said stays unknown, for no speech recogniser is at hand: pip install"
            " 'storyjax[subtitles]' and 'storyjax models get speech', or give --transcript"
        )
        return None
    given = {media.stem: transcript} if transcript else {}
    made = Subtitler(speech.config).subtitle(
        media, None, transcripts=given, cache_dir=work, progress=False, laughter=False
    )
    looked = speech.mouths and film.has_video
    return Heard(made[0], find_mouths(media, made[0], speech.config, work) if looked else None)


def store(story: Story, db: sqlite3.Connection, film: Film, heard: Heard | None, speech: Speech) -> None:
    """Stores the sentences inside a transaction."""
    if heard is None:
        return
    said = heard.said
    recogniser = speech.config.recognition
    encoder = speech.voices
    for number, (line, vector) in enumerate(zip(said.lines, said.vectors, strict=True)):
        mouths = {} if heard.mouths is None else {PLACES: heard.mouths[number]}
        row = Utterance(
            *(0, film.id, number, line.start, max(line.end, line.start), line.text, None, line.name or "Unknown", None),
            evidence={"voice": line.name, "distance": line.assignment.distance, **mouths},
            model=f"{recogniser.engine} {Path(recogniser.model).name}",
        )
        owner = story.add(db, row)
        if np.any(vector):
            middle = (line.start + line.end) / 2
            story.add(db, Vector(0, film.id, "voice", owner, middle, encoder.id, np.asarray(vector, np.float32)))
