"""Forgetting somebody: no name, vector, picture or correction of them is left in any byte of the folder."""

from pathlib import Path

import numpy as np

from storyjax.story.export.document import write_document
from storyjax.story.forget import forget_entity
from storyjax.story.rows import Correction, Vector
from storyjax.story.store import Story
from tests.story.small_story import ANA, BEN, make_story

ID = "a" * 32


def marked(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=16).astype(np.float32)


def fill(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Writes a story with vectors, pictures and corrections; returns what is of Ana, and of Ben."""
    own, others = [b'"Ana"', ID.encode()], []
    with make_story(folder) as story:
        with story.transaction() as db:
            for number, track in enumerate(story.tracks(1)):
                jpeg = bytes([number]) * 50 + b"picture"
                still = db.execute("INSERT INTO stills (film, jpeg) VALUES (1, ?)", (jpeg,)).lastrowid
                db.execute("UPDATE tracks SET still = ? WHERE id = ?", (still, track.id))
                story.add(db, Vector(0, 1, "face", track.id, track.start_s, "net", marked(number)))
                (own if track.entity == ANA else others).extend([jpeg, marked(number).tobytes()])
            for line in story.utterances(1):
                story.add(db, Vector(0, 1, "voice", line.id, line.start_s, "net", marked(100 + line.number)))
                (own if line.speaker == ANA else others).append(marked(100 + line.number).tobytes())
            db.execute("UPDATE tracks SET evidence = ? WHERE entity = ?", ('{"runner_up": "Ana"}', BEN))
            story.add(db, Correction(0, "2026", "assign", {"film": "d"}, {"who": {"name": "Ana", "gallery": ID}}))
            story.add(db, Correction(0, "2026", "assign", {"film": "d"}, {"who": {"name": "Ben"}}))
        write_document(story)
    (folder / ".work" / "garden").mkdir(parents=True)
    (folder / ".work" / "garden" / "4_voices.json").write_bytes(own[-1])
    return own, others


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_nothing_is_left_of_who_was_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "story"
    own, others = fill(folder)
    before = content(folder)
    assert all(trace in before for trace in (*own, *others))
    said = forget_entity(folder, ID)
    assert "3 tracks and 3 sentences" in said
    after = content(folder)
    assert not [trace for trace in own if trace in after]
    kept = [trace for trace in others if trace in after]
    assert len(kept) == len(others)
    with Story.open(folder) as story:
        assert [entity.name for entity in story.entities()] == ["Ben", "Chia", "Person 1"]
        assert [line.label for line in story.utterances(1)][:3] == ["Unknown", "Ben", "Unknown"]
        assert len(story.corrections()) == 1


def test_somebody_who_is_not_in_the_story(tmp_path: Path) -> None:
    make_story(tmp_path / "story").close()
    before = content(tmp_path / "story")
    assert "nothing in it is of that entry" in forget_entity(tmp_path / "story", "f" * 32)
    assert content(tmp_path / "story") == before
