"""What each shot shows, in a model's words: the published BLIP-2 of the role `ask`, or a TCR's caption of a segment."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from storyjax.story.options import StoryOptions
from storyjax.story.rows import Caption, Film, Shot
from storyjax.story.store import Story
from storyjax.weights.roles import Choice, model_for, tell_shipped

CAPTION = "caption"
_MARGIN_S = 0.05  # left out at both ends of a shot, which its neighbours' images may touch
# Says what a part of a film shows: of its file and the part (begin and end in seconds) the words and their probability.
Captioner = Callable[[Path, tuple[float, float]], tuple[str, float]]
Told = Sequence[tuple[int, str, float]]  # of a shot's id, the words and their probability


def captioner_choice(options: StoryOptions) -> Choice:
    """Returns which model says what shots show."""
    return model_for("ask", options.models)


def load_captioner(options: StoryOptions) -> Captioner:
    """Returns the model of the models folder, or what ships, loaded. Raises StoryjaxError: it cannot be."""
    from storyjax.tcr import predict_tasks
    from storyjax.tcr.blip2 import is_blip2, load_blip2
    from storyjax.tcr.predict import Predictor

    choice = captioner_choice(options)
    if choice.origin != "ships" and is_blip2(choice.place):
        blip2 = load_blip2(choice.place)

        def describe(film: Path, part: tuple[float, float]) -> tuple[str, float]:
            answer = blip2.caption(film, part)
            return answer.text, answer.probability

        return describe
    predictor = Predictor.from_pretrained(None if choice.origin == "ships" else choice.place)
    tell_shipped("ask", None if choice.origin == "ships" else choice.place)

    def tell(film: Path, part: tuple[float, float]) -> tuple[str, float]:
        answer = predict_tasks.caption(predictor, film, *part)
        return answer.text, answer.probability

    return tell


def caption_shots(
    shots: Sequence[Shot], media: Path, captioner: Captioner, report: Callable[[float], None]
) -> list[tuple[int, str, float]]:
    """Returns what each shot shows; `report` gets the seconds of the film that are done.

    Raises:
        StoryjaxError: the film cannot be read.
    """
    told = []
    for shot in shots:
        margin = min(_MARGIN_S, (shot.end_s - shot.start_s) / 4)
        told.append((shot.id, *captioner(media, (shot.start_s + margin, shot.end_s - margin))))
        report(shot.end_s)
    return told


def store_captions(story: Story, db: sqlite3.Connection, film: Film, told: Told, model: str) -> None:
    """Stores what the shots of a film show, inside a transaction."""
    for shot, text, probability in told:
        if text.strip():
            row = Caption(0, film.id, shot, CAPTION, text.strip(), round(probability, 4), {}, model)
            story.add(db, row)
