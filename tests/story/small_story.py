"""A small story written by hand, for tests: one film of a minute, two named people, a dog, and somebody unknown."""

from pathlib import Path

from storyjax.story.rows import DONE, Appearance, Caption, Entity, Film, Shot, Track, Utterance
from storyjax.story.store import Story, add_boxes

ANA, BEN, CHIA, SOMEBODY = 1, 2, 3, 4
SPOKEN = [
    (2.0, 4.0, "Good morning, where is the dog?", ANA),
    (5.0, 7.5, "She is in the garden.", BEN),
    (12.0, 14.0, "I lost my keys again.", ANA),
    (21.0, 23.0, "Who are you?", BEN),
    (24.0, 26.0, "I am the postman.", SOMEBODY),
    (50.0, 53.0, "Good night.", ANA),
]
# entity, start, end, left
SEEN = [(ANA, 0.0, 10.0, 0.1), (BEN, 4.0, 10.0, 0.6), (ANA, 10.0, 20.0, 0.4), (CHIA, 12.0, 18.0, 0.7)]
SEEN += [(BEN, 20.0, 40.0, 0.1), (SOMEBODY, 23.0, 40.0, 0.6), (ANA, 40.0, 60.0, 0.3)]


def make_story(folder: Path) -> Story:
    """Returns the story, written to `folder`."""
    story = Story.create(folder)
    people = [("person", "Ana", None, "a" * 32), ("person", "Ben", None, "b" * 32)]
    people += [("thing", "Chia", "dog", "c" * 32), ("person", "Person 1", None, None)]
    with story.transaction() as db:
        film = story.add(
            db, Film(0, "garden", "../garden.mp4", 1000, 1, "d" * 64, 60.0, 320, 240, 25.0, True, True, DONE)
        )
        for number, (kind, name, category, gallery) in enumerate(people, 1):
            story.add(db, Entity(number, kind, name, category, gallery))
        for number in range(6):
            shot = story.add(db, Shot(0, film, number, 10.0 * number, 10.0 * number + 10))
            place = "garden" if number < 2 else "kitchen"
            story.add(db, Caption(0, film, shot, "place", place, 0.9, {"frames": 2}, "clip"))
        for number, (entity, start, end, left) in enumerate(SEEN):
            kind = people[entity - 1][0]
            shot = int(start // 10) + 1
            track = story.add(
                db,
                Track(0, film, number, shot, kind, None, start, end, entity, 0.9, evidence={"faces": 3}, model="mqt"),
            )
            times = [start + 0.5 * step for step in range(int(2 * (end - start)))]
            add_boxes(db, track, [(time, left, 0.2, 0.2, 0.6, 0.9) for time in times])
            story.add(db, Appearance(0, film, entity, start, end, 0.9, evidence={"tracks": [number]}, model="mqt"))
        for number, (start, end, text, speaker) in enumerate(SPOKEN):
            label = people[speaker - 1][1]
            evidence = {"voice": 0.1}
            story.add(
                db, Utterance(0, film, number, start, end, text, speaker, label, 0.9, evidence=evidence, model="voices")
            )
    return story
