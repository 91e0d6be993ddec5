"""A story whose tables are true: made of the truth of episodes of StoryWorld's series."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storyjax.story.rows import DONE, Appearance, Caption, Entity, Film, Shot, Utterance
from storyjax.story.store import Story

Truth = Mapping[str, Any]


def story_of_truth(folder: Path, truths: Mapping[str, Truth]) -> Story:
    """Returns the story of episodes, by name, written to `folder`. Whom the cast list lacks is "Person 1" ..., and
    their lines are nobody's."""
    story = Story.create(folder)
    people: dict[str, bool] = {}
    things: dict[str, str] = {}
    for truth in truths.values():
        people |= {line["speaker"]: line["listed"] for line in truth["lines"]}
        people |= {one["name"]: one["listed"] for shot in truth["shots"] for one in shot["people"]}
        things |= {one["name"]: one["category"] for shot in truth["shots"] for one in shot["things"]}
    strangers = [name for name, listed in people.items() if not listed]
    ids = {name: number for number, name in enumerate([*people, *things], 1)}
    with story.transaction() as db:
        for name, number in ids.items():
            shown = f"Person {strangers.index(name) + 1}" if name in strangers else name
            kind = "thing" if name in things else "person"
            gallery = None if name in strangers else f"{number:032x}"
            story.add(db, Entity(number, kind, shown, things.get(name), gallery))
        for name, truth in truths.items():
            end = truth["shots"][-1]["end"]
            film = Film(0, name, f"../{name}.mp4", 1, 1, name, end, 128, 128, 25.0, True, True, DONE)
            _add_film(story, db, story.add(db, film), truth, ids, strangers)
    return story


def _add_film(story: Story, db: Any, film: int, truth: Truth, ids: Mapping[str, int], strangers: list[str]) -> None:
    seen: dict[str, list[list[float]]] = {}
    for number, shot in enumerate(truth["shots"]):
        row = story.add(db, Shot(0, film, number, shot["start"], shot["end"]))
        story.add(db, Caption(0, film, row, "place", shot["place"], 1.0, model="truth"))
        for one in (*shot["people"], *shot["things"]):
            times = seen.setdefault(one["name"], [])
            if times and times[-1][1] == shot["start"]:
                times[-1][1] = shot["end"]
            else:
                times.append([shot["start"], shot["end"]])
    for name, times in seen.items():
        for start, end in times:
            story.add(db, Appearance(0, film, ids[name], start, end, 1.0, model="truth"))
    for number, line in enumerate(truth["lines"]):
        speaker = None if line["speaker"] in strangers else ids[line["speaker"]]
        label = line["speaker"] if speaker else "Unknown"
        story.add(
            db, Utterance(0, film, number, line["start"], line["end"], line["text"], speaker, label, 1.0, model="truth")
        )
