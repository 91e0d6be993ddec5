"""How right a story is: `storyjax story evaluate`, against the truth of a StoryWorld series (`metrics/story.py`).

Names are measured as the story has them and, where it is known who the people are, also by faces alone and by voices
alone, from the same tracks and sentences.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.metrics.story import (
    NamedTrack,
    Span,
    Truth,
    pooled,
    read_truth,
    speech_scores,
    track_names,
    true_appearances,
)
from storyjax.story.appearances import GAP_S
from storyjax.story.known import Knowledge, learn
from storyjax.story.name_stage import NameNetworks, name_people, people_and_things, read_facts
from storyjax.story.naming import join_spans
from storyjax.story.options import NAMES_BY, StoryOptions
from storyjax.story.rows import PERSON, THING, Film, Track
from storyjax.story.stages import Networks
from storyjax.story.store import Story

STORED = "story"
Names = Mapping[int, str | None]


def evaluate(story: Story, folder: str | Path, options: StoryOptions | None = None) -> dict[str, dict[str, float]]:
    """Returns scores by what people are named by: "story" as it is stored; with `options`, also each of NAMES_BY.

    Scores: lanes_f1 of (person, second), tracks_right, speech_right (see `metrics.story`), and of what is stored
    things_f1 and things_right.

    Args:
        story: the story of films that the truth has the names of.
        folder: with truth/NAME.json, or NAME.json, of each film.
        options: the gallery or the cast list with which names are given anew; None: that is not done.

    Raises:
        StoryjaxError: there is no truth of any film.
    """
    films = [(film, truth) for film in story.films() if (truth := _truth_of(Path(folder), film)) is not None]
    if not films:
        raise StoryjaxError(f"{folder} has no truth of any film of {story.folder}: give the series' folder")
    names: Names = {entity.id: entity.name if entity.named else None for entity in story.entities()}
    rows = [_stored(story, film, truth, names) for film, truth in films]
    found = {STORED: _scores(rows) | _thing_scores(story, films, names)}
    if options is None:
        return found
    networks = Networks(options)
    knowledge = learn(options, networks.describers, networks.speech)
    for by in NAMES_BY:
        made = [_renamed(story, film, truth, knowledge, networks.names, by) for film, truth in films]
        found[by] = _scores(made)
    return found


def _truth_of(folder: Path, film: Film) -> Truth | None:
    for path in (folder / "truth" / f"{film.name}.json", folder / f"{film.name}.json"):
        if path.is_file():
            return read_truth(path)
    return None


Row = tuple[Truth, list[Span], list[NamedTrack], list[Span]]  # truth, who is seen, tracks, who speaks


def _stored(story: Story, film: Film, truth: Truth, names: Names) -> Row:
    people = {entity.id for entity in story.entities(PERSON)}
    seen = [Span(a.start_s, a.end_s, names[a.entity]) for a in story.appearances(film.id) if a.entity in people]
    tracks = [
        _named(story, track, names.get(track.entity or 0)) for track in story.tracks(film.id) if track.kind == PERSON
    ]
    said = [Span(u.start_s, u.end_s, names.get(u.speaker or 0)) for u in story.utterances(film.id)]
    return truth, seen, tracks, said


def _renamed(story: Story, film: Film, truth: Truth, knowledge: Knowledge, networks: NameNetworks, by: str) -> Row:
    facts = read_facts(story, film, networks)
    people, _ = people_and_things(facts, knowledge, networks)
    named = name_people(facts, people, knowledge, networks, by)
    names = {key: one.name for key, one in knowledge.entries.items()}
    spans: dict[str, list[tuple[float, float, int, float]]] = {}
    for track in people:
        if (name := names.get(named.tracks[track.id].who)) is not None:
            spans.setdefault(name, []).append((track.start_s, track.end_s, track.id, 1.0))
    seen = [Span(start, end, name) for name, own in spans.items() for start, end, _, _ in join_spans(own, GAP_S)]
    tracks = [_named(story, track, names.get(named.tracks[track.id].who)) for track in people]
    said = [Span(u.start_s, u.end_s, names.get(named.sentences[u.id].who)) for u in facts.sentences]
    return truth, seen, tracks, said


def _named(story: Story, track: Track, name: str | None) -> NamedTrack:
    boxes = story.boxes(track.id).astype(np.float64)
    corners = np.concatenate([boxes[:, 1:3], boxes[:, 1:3] + boxes[:, 3:5]], axis=1)
    return NamedTrack(name, boxes[:, 0], corners)


def _scores(rows: Sequence[Row]) -> dict[str, float]:
    lanes = pooled([(true_appearances(truth), seen) for truth, seen, _, _ in rows])
    tracks = [track_names(truth, tracks) for truth, _, tracks, _ in rows]
    speech = [speech_scores(truth, said) for truth, _, _, said in rows]
    count = sum(one["tracks"] for one in tracks)
    return {
        "lanes_f1": lanes["f1"],
        "lanes_precision": lanes["precision"],
        "lanes_recall": lanes["recall"],
        "tracks_right": sum(one["right"] * one["tracks"] for one in tracks) / max(count, 1),
        "tracks": count,
        "tracks_false": sum(one["false"] for one in tracks),
        "speech_right": float(np.mean([one["right"] for one in speech])),
        "speech_precision": float(np.mean([one["precision"] for one in speech])),
        "others_named": float(np.mean([one["others_named"] for one in speech])),
    }


def _thing_scores(story: Story, films: Sequence[tuple[Film, Truth]], names: Names) -> dict[str, float]:
    """Of things: lanes and tracks; nothing where the truth shows none."""
    if not any(shot["things"] for _, truth in films for shot in truth["shots"]):
        return {}
    things = {entity.id for entity in story.entities(THING)}
    lanes, right, count = [], 0.0, 0.0
    for film, truth in films:
        seen = [Span(a.start_s, a.end_s, names[a.entity]) for a in story.appearances(film.id) if a.entity in things]
        lanes.append((true_appearances(truth, "things"), seen))
        tracks = [_named(story, t, names.get(t.entity or 0)) for t in story.tracks(film.id) if t.kind != PERSON]
        scores = track_names(truth, tracks, "things")
        right, count = right + scores["right"] * scores["tracks"], count + scores["tracks"]
    return {"things_f1": pooled(lanes)["f1"], "things_right": right / max(count, 1), "things": count}


def table(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns the scores as lines for people."""
    columns = list(dict.fromkeys(name for row in scores.values() for name in row))
    lines = ["names by".ljust(9) + " ".join(name.rjust(max(8, len(name))) for name in columns)]
    for by, row in scores.items():
        cells = [
            (f"{row[name]:.0f}" if row[name] > 1 else f"{row[name]:.3f}") if name in row else "" for name in columns
        ]
        cells = [cell.rjust(max(8, len(name))) for cell, name in zip(cells, columns, strict=True)]
        lines.append(by.ljust(9) + " ".join(cells))
    return lines
