"""Measuring a tracker on a series: what is counted right, with a tracker that says what it is told to."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from storyjax.mqt.predict import Tracker
from storyjax.storyworld.render.episode_video import write_video

PERSON, DOG = [0.25, 0.25, 0.5, 1.0], [0.75, 0.75, 1.0, 1.0]
SIZE = 32


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Two shots of a second: somebody, then somebody with a dog."""
    (tmp_path / "video" / "Show").mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 256, (50, SIZE, SIZE, 3), dtype=np.uint8)
    write_video(iter(frames), np.zeros(32_000, np.float32), tmp_path / "video" / "Show" / "a.mp4", SIZE)
    person = {"name": "Ana", "listed": True, "box": PERSON}
    dog = {"name": "Chia", "category": "dog", "owner": "Ana", "box": DOG}
    shots = [
        {"start": 0.0, "end": 1.0, "place": "park", "people": [person], "things": []},
        {"start": 1.0, "end": 2.0, "place": "park", "people": [person], "things": [dog]},
    ]
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.json").write_text(json.dumps({"lines": [], "laughs": [], "shots": shots}))
    return tmp_path


class Told:
    """Finds the person in every image, and in the second shot the dog, which it takes for a person in two of five."""

    labels = ("person", "thing")

    def __init__(self) -> None:
        self.shot, self.frame = 0, 0

    def start(self, width: int, height: int) -> None:
        """Counts the shots."""
        assert (width, height) == (SIZE, SIZE)
        self.shot, self.frame = self.shot + 1, 0

    def step(self, image: np.ndarray) -> list[SimpleNamespace]:
        """Returns what is in the image."""
        assert image.shape == (SIZE, SIZE, 3)
        self.frame += 1
        found = [SimpleNamespace(id=1, xywh_px=(8, 8, 8, 24), score=0.9, label="person")]
        if self.shot == 2:
            label = "person" if self.frame <= 2 else "thing"
            found.append(SimpleNamespace(id=2, xywh_px=(24, 24, 8, 8), score=0.8, label=label))
        return found


def test_boxes_and_classes_are_counted_by_shot(load_tool, series: Path, monkeypatch, capsys) -> None:
    tool = load_tool("measure_series_tracks")
    monkeypatch.setattr(Tracker, "from_pretrained", classmethod(lambda *_, **__: Told()))
    monkeypatch.setattr(sys, "argv", ["measure", str(series)])
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("people: recall 1.0000, precision 0.8333,")  # 10 of 12 boxes are people
    assert lines[1].startswith("things: recall 0.6000, precision 1.0000,")
    assert lines[2] == "all: recall 1.0000, precision 1.0000, idf1 1.0000"
    assert lines[3] == "class right: 0.8667"  # 13 of 15
