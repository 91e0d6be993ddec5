"""A story with a film that plays, for tests of the app: six seconds, Ana who walks to the right, Ben, and somebody."""

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from storyjax.app.guard import Access
from storyjax.app.serve import bound
from storyjax.app.server import Library, make_app
from storyjax.story.rows import DONE, Appearance, Caption, Entity, Film, Shot, Track, Utterance
from storyjax.story.store import Story, add_boxes
from storyjax.storyworld.render.episode_video import FPS, write_video
from storyjax.storyworld.render.speech import RATE

ANA, BEN, SOMEBODY, REX = 1, 2, 3, 4
SECONDS, SIZE = 6, 64
LINES = [(0.5, 2.0, "Good morning, where is the dog?", ANA), (2.5, 4.0, "In the <b>garden</b>.", BEN)]
LINES += [(4.5, 5.5, "Who are you?", None)]


def ana_at(time: float) -> float:
    """The left side of Ana's box."""
    return 0.1 + 0.1 * time


def write_film(path: Path) -> None:
    """Writes the film: a light square, Ana, on grey."""

    def frames() -> Iterator[np.ndarray]:
        for number in range(SECONDS * FPS):
            image = np.full((SIZE, SIZE, 3), 90, np.uint8)
            left = round(ana_at(number / FPS) * SIZE)
            image[13:51, left : left + 13] = 200
            yield image

    write_video(frames(), np.zeros(SECONDS * RATE, np.float32), path, SIZE)


def make_app_story(folder: Path, names: dict[int, str] | None = None) -> Path:
    """Writes the story and its film, and returns the story's folder; `names` replaces names."""
    (folder / "films").mkdir(parents=True)
    path = folder / "films" / "clip.mp4"
    write_film(path)
    facts = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    called = {ANA: "Ana", BEN: "Ben", SOMEBODY: "Person 1", REX: "Rex", **(names or {})}
    with Story.create(folder / "story") as story, story.transaction() as db:
        row = Film(
            0,
            "clip",
            "../films/clip.mp4",
            facts.st_size,
            facts.st_mtime_ns,
            digest,
            6.0,
            SIZE,
            SIZE,
            25.0,
            True,
            True,
            DONE,
        )
        film = story.add(db, row)
        kinds = {ANA: "person", BEN: "person", SOMEBODY: "person", REX: "thing"}
        for entity, kind in kinds.items():
            gallery = None if entity == SOMEBODY else f"{entity}" * 32
            story.add(db, Entity(entity, kind, called[entity], "dog" if entity == REX else None, gallery))
        picture = io.BytesIO()
        Image.new("RGB", (48, 48), (200, 120, 60)).save(picture, "JPEG")
        still = db.execute("INSERT INTO stills (film, jpeg) VALUES (?, ?)", (film, picture.getvalue())).lastrowid
        for number, (start, end) in enumerate([(0.0, 3.0), (3.0, 6.0)]):
            shot = story.add(db, Shot(0, film, number, start, end, still))
            story.add(db, Caption(0, film, shot, "place", ["garden", "100% kitchen"][number], 0.9, {}, "clip"))
        tracks = [(ANA, 0.0, 6.0, 1), (BEN, 3.0, 6.0, 2), (SOMEBODY, 0.0, 3.0, 1), (REX, 1.0, 2.0, 1)]
        for number, (entity, start, end, shot) in enumerate(tracks):
            kind = kinds[entity]
            given = Track(0, film, number, shot, kind, None, start, end, entity, 0.9, still=still, model="mqt")
            track = story.add(db, given)
            times = np.arange(start, end, 0.2)
            left = {BEN: 0.75, SOMEBODY: 0.78, REX: 0.5}
            add_boxes(db, track, [(t, ana_at(t) if entity == ANA else left[entity], 0.2, 0.2, 0.6, 0.9) for t in times])
            story.add(db, Appearance(0, film, entity, start, end, 0.9, evidence={"tracks": [number]}, model="mqt"))
        for number, (start, end, text, speaker) in enumerate(LINES):
            label = called[speaker] if speaker else "Unknown"
            story.add(db, Utterance(0, film, number, start, end, text, speaker, label, 0.9, model="voices"))
    return folder / "story"


@contextmanager
def served(story: Path, gallery: Path | None = None, token: str | None = None) -> Iterator[str]:
    """Serves a story on a free port of this machine, and yields the app's address."""
    import uvicorn

    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        app = make_app(Library(story, gallery), Access("127.0.0.1", port, token))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
