"""What MQT trains on: boxes lie where the things are, rows are the same object, padding is empty."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.core.config import from_config, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders import mot
from storyjax.data.pipeline import train_stream
from storyjax.data.streams import StreamSpec
from storyjax.mqt.config import MqtData
from storyjax.mqt.data import (
    DetectionLoader,
    FramePair,
    Objects,
    PairLoader,
    PairSource,
    SimulatedPairLoader,
    View,
    perturbed,
)
from storyjax.mqt.datasets import Sources
from storyjax.mqt.experiment import batch_shapes
from storyjax.mqt.images import WHOLE, Fit, crop
from storyjax.storyworld.export.tracks_mot import encode_jpeg

VIEW = View(size=(48, 80), max_objects=5, jitter=0.0)


def a_record(boxes: list[list[int]], size: tuple[int, int] = (96, 160), **further) -> dict:
    """A dark image with a bright patch in each box (left, top, width, height in pixels)."""
    pixels = np.full((*size, 3), 10, np.uint8)
    for number, (left, top, width, height) in enumerate(boxes):
        pixels[top : top + height, left : left + width, number % 3] = 250
    count = len(boxes)
    record = {
        "image": encode_jpeg(pixels),
        "name": "a image",
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "kinds": np.arange(count, dtype=np.int32) + 3,
    }
    return record | (further or {"crowd": np.zeros(count, bool)})


def bright(image: np.ndarray, box: np.ndarray, channel: int) -> tuple[float, float]:
    """The share of a box (cx, cy, w, h) that is bright in a channel, and of the rest."""
    height, width = image.shape[:2]
    left, top = round((box[0] - box[2] / 2) * width), round((box[1] - box[3] / 2) * height)
    right, bottom = round((box[0] + box[2] / 2) * width), round((box[1] + box[3] / 2) * height)
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    lit = image[..., channel] > 128
    return float(lit[inside].mean()), float(lit[~inside].mean())


@pytest.mark.parametrize("loader", [SimulatedPairLoader, DetectionLoader])
def test_boxes_lie_on_what_they_are_of(loader) -> None:
    record = a_record([[20, 10, 40, 30], [90, 50, 30, 40]])
    for seed in range(8):
        arrays = loader(VIEW)(record, np.random.default_rng(seed))
        for view in ("0", "1") if "images1" in arrays else ("0",):
            assert arrays[f"present{view}"].sum() == 2
            for row in np.flatnonzero(arrays[f"present{view}"]):
                channel = int(arrays["kind"][row]) - 3
                inside, outside = bright(arrays[f"images{view}"], arrays[f"boxes{view}"][row], channel)
                assert inside > 0.85
                assert outside < 0.03


def test_padding_is_empty_and_the_largest_stay() -> None:
    boxes = [[2 + 11 * i, 4, 4 + i, 4 + i] for i in range(9)]
    arrays = DetectionLoader(VIEW)(a_record(boxes), np.random.default_rng(0))
    assert sorted(arrays["kind"].tolist()) == [7, 8, 9, 10, 11]
    few = DetectionLoader(VIEW)(a_record(boxes[:2]), np.random.default_rng(0))
    assert few["present0"].sum() == 2
    absent = ~few["present0"]
    assert not few["boxes0"][absent].any()
    assert not few["given_boxes"][absent].any()
    assert (few["kind"][absent] == -1).all()
    none = DetectionLoader(VIEW)(a_record([]), np.random.default_rng(0))
    assert not none["present0"].any()


def test_simulated_views_differ_by_at_most_what_they_may() -> None:
    record = a_record([[60, 40, 30, 20]])
    shifts = []
    for seed in range(30):
        arrays = SimulatedPairLoader(VIEW)(record, np.random.default_rng(seed))
        first, second = arrays["boxes0"][arrays["present0"]][0], arrays["boxes1"][arrays["present1"]][0]
        shifts.append(np.abs(first - second).max())
    assert 0.02 < max(shifts) < 2 * 0.05 / 0.9
    assert np.mean(shifts) > 0.01


def test_no_object_is_lost_where_none_may_be() -> None:
    record = a_record([[0, 40, 3, 20], [157, 10, 3, 60]])  # at the very edges
    keep, lose = View(VIEW.size, 5, keep_all=True), View(VIEW.size, 5, keep_all=False)
    kept = [SimulatedPairLoader(keep)(record, np.random.default_rng(s)) for s in range(12)]
    assert all(a["present0"].sum() == a["present1"].sum() == 2 for a in kept)
    lost = [SimulatedPairLoader(lose)(record, np.random.default_rng(s)) for s in range(12)]
    assert any((a["present0"] != a["present1"]).any() for a in lost)


def test_mirroring_twice_is_nothing() -> None:
    objects = Objects(np.array([[0.1, 0.2, 0.4, 0.9]], np.float32), np.array([1], np.int32), np.array([2], np.int32))
    assert np.allclose(objects.mirrored().mirrored().corners, objects.corners)
    assert np.allclose(objects.mirrored().corners, [[0.6, 0.2, 0.9, 0.9]])
    assert np.allclose(objects.cropped_to(WHOLE).corners, objects.corners)


def test_perturbed_boxes_stay_near_and_in_the_image() -> None:
    boxes = np.tile(np.array([[0.5, 0.5, 0.2, 0.4]], np.float32), (4000, 1))
    moved = perturbed(boxes, 0.1, np.random.default_rng(0))
    assert np.allclose((moved - boxes).std(0), [0.02, 0.04, 0.02, 0.04], rtol=0.1)
    edge = perturbed(np.array([[0.0, 1.0, 1.0, 0.0]], np.float32), 0.5, np.random.default_rng(1))
    assert (edge >= 0).all()
    assert (edge <= 1).all()


class Frames:
    """Five frames of a square that moves two pixels each; object 2 is hidden in the last two."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        boxes = [[20 + 2 * index, 30, 20, 20], [100, 30, 20, 20]]
        there = {
            "ids": np.array([1, 2], np.int32),
            "considered": np.ones(2, bool),
            "visibility": np.array([1.0, 0.1 if index > 2 else 0.9], np.float32),
        }
        return a_record(boxes, **there)


def test_a_pair_has_the_same_object_in_a_row() -> None:
    view = View((96, 160), 4, flip=0.0, jitter=0.0)
    gaps = set()
    for seed in range(20):
        arrays = PairLoader(view)(FramePair(Frames(), 0, 2), np.random.default_rng(seed))
        first = int(np.flatnonzero(arrays["kind"] == 3)[0])
        gap = (arrays["boxes1"][first, 0] - arrays["boxes0"][first, 0]) * 160
        gaps.add(round(float(gap)))
    assert gaps == {-4, -2, 2, 4}  # one or two frames on, either way round
    arrays = PairLoader(view)(FramePair(Frames(), 2, 1), np.random.default_rng(0))
    hidden = int(np.flatnonzero(arrays["kind"] == 4)[0])
    assert arrays["present0"][hidden] != arrays["present1"][hidden]


def test_a_share_of_pairs_is_far_apart() -> None:
    view = View((96, 160), 4, flip=0.0, jitter=0.0)
    gaps = []
    for seed in range(60):
        arrays = PairLoader(view, far_prob=0.5)(FramePair(Frames(), 0, 1, far=9), np.random.default_rng(seed))
        first = int(np.flatnonzero(arrays["kind"] == 3)[0])
        gaps.append(abs(round(float((arrays["boxes1"][first, 0] - arrays["boxes0"][first, 0]) * 80))))
    assert set(gaps) == set(range(1, 10))
    assert 20 <= gaps.count(1) <= 46  # the near half, and a ninth of the far one
    with pytest.raises(StoryjaxError, match="far_gap"):
        Sources(MqtData(far_prob=0.5))


def test_a_share_of_pairs_has_one_frame_mirrored() -> None:
    view = View((96, 160), 4, flip=0.5, jitter=0.0)
    mirrored = 0
    for seed in range(40):
        both = [
            PairLoader(view, mirror_prob=share)(FramePair(Frames(), 0, 1), np.random.default_rng(seed))
            for share in (1e-9, 0.5)
        ]
        assert np.array_equal(both[0]["images0"], both[1]["images0"])
        if not np.array_equal(both[0]["images1"], both[1]["images1"]):
            mirrored += 1
            assert np.array_equal(both[0]["images1"], both[1]["images1"][:, ::-1])
            there = both[0]["present1"]
            moved = np.abs(both[0]["boxes1"] - both[1]["boxes1"] * (-1, 1, 1, 1) - (1, 0, 0, 0))[there]
            np.testing.assert_allclose(moved, 0, atol=1e-6)
    assert 12 <= mirrored <= 28


def test_a_picture_keeps_its_aspect_ratio_and_is_padded() -> None:
    assert Fit(800, 1333).size(480, 640, (1344, 1344)) == (800, 1067)
    assert Fit(800, 1333).size(640, 480, (1344, 1344)) == (1067, 800)
    assert Fit(800, 1333).size(1080, 1920, (1344, 1344)) == (750, 1333)
    assert Fit(800, 1440).size(1080, 1920, (800, 1440)) == (800, 1422)
    assert Fit(800, 1440).size(1920, 1080, (800, 1440)) == (800, 450)  # upright, into broad images
    record = a_record([[20, 10, 40, 30], [90, 50, 30, 40]])
    for size, extent in (((64, 80), [48, 80]), ((48, 128), [48, 80]), ((40, 128), [40, 67])):
        view = dataclasses.replace(VIEW, size=size, fit=Fit(48, 100))
        for seed in range(4):  # mirrored or not
            stretched = DetectionLoader(VIEW)(record, np.random.default_rng(seed))
            arrays = DetectionLoader(view)(record, np.random.default_rng(seed))
            assert arrays["images0"].shape == (*size, 3)
            assert arrays["extent0"].tolist() == extent
            height, width = extent
            assert not arrays["images0"][height:].any()
            assert not arrays["images0"][:, width:].any()
            for name in ("boxes0", "given_boxes", "present0"):  # are of the picture, not of the image
                np.testing.assert_array_equal(arrays[name], stretched[name])
            for row in np.flatnonzero(arrays["present0"]):
                picture = arrays["images0"][:height, :width]
                inside, outside = bright(picture, arrays["boxes0"][row], int(arrays["kind"][row]) - 3)
                assert inside > 0.85
                assert outside < 0.05
            assert "extent0" not in stretched
    pair = SimulatedPairLoader(dataclasses.replace(VIEW, size=(64, 96), fit=Fit(48, 80), max_shift=0.3))
    arrays = pair(record, np.random.default_rng(0))
    assert arrays["extent0"].tolist() != arrays["extent1"].tolist()  # each is a window of its own shape
    data = MqtData(dataset="coco", mode="simulated", size=(64, 96), shorter=48, longer=80, max_objects=5)
    assert {name: (a.shape, a.dtype) for name, a in arrays.items()} == {
        name: (each.shape[1:], each.dtype) for name, each in batch_shapes(data, 1).items()
    }
    with pytest.raises(StoryjaxError, match="shorter and longer go together"):
        MqtData(shorter=800)


@pytest.mark.parametrize("name", ["mqt_mot17", "mqt_mot20", "mqt_tao"])
def test_pairs_of_the_papers_configs_are_adjacent_frames(name: str) -> None:
    config = load_config(f"{Path(__file__).parents[2] / 'configs' / name}.py")
    data = from_config(MqtData, config.data)
    assert (data.mode, data.max_gap, data.far_prob) == ("pairs", 1, 0.0)


def test_a_frame_without_image_is_a_broken_record() -> None:
    with pytest.raises(StoryjaxError, match="a image has no image"):
        DetectionLoader(VIEW)(a_record([]) | {"image": b""}, np.random.default_rng(0))


def test_a_window_is_cut_out_as_pillow_would() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    part = crop(pixels, (0.1, 0.25, 0.6, 0.75), (20, 30))
    assert np.array_equal(part, np.asarray(Image.fromarray(pixels[10:30, 6:36])))
    assert crop(pixels, WHOLE, (40, 60)) is pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MqtData:
    root = tmp_path_factory.mktemp("mqt")
    counts = {"train": 2, "held_out": 1, "unseen": 1}
    return MqtData(
        root={name: str(root / name) for name in ("mot17", "coco")},
        cache_dir=str(root / "prepared"),
        synthetic={"mot17": {"counts": counts, "detectors": ("SDP",)}, "coco": {"counts": {"train": 6, "val": 1}}},
        held_out=("StoryWorld-8*",),
        unseen=("StoryWorld-9*",),
        size=(48, 80),
        max_objects=6,
    )


def test_streams_give_what_training_takes(data: MqtData) -> None:
    data = dataclasses.replace(data, max_gap=3)
    sources = Sources(data)
    stream = sources.stream(StreamSpec(4, 0, steps=2))
    batches = list(stream)
    stream.close()
    assert len(batches) == 2
    assert batches[0]["images1"].shape == (4, 48, 80, 3)
    assert batches[0]["boxes1"].shape == (4, 6, 4)
    assert batches[0]["present0"].dtype == bool
    pairs = PairSource(sources.split("mot17", "train"), 3)
    lengths = [sequence.length for sequence in pairs.source.sequences]
    assert len(pairs) == sum(lengths) - 2
    assert sources.steps_per_epoch(4) == len(pairs) // 4
    last = pairs[lengths[0] - 2]
    assert (last.index, last.reach) == (lengths[0] - 2, 1)  # never into the next sequence
    far = PairSource(pairs.source, 3, 20)
    assert (far[0].reach, far[0].far, far[lengths[0] - 5].far) == (3, 20, 4)
    again = train_stream(pairs, PairLoader(data.view), StreamSpec(4, 0, start_step=1, steps=2))
    assert np.array_equal(next(iter(again))["boxes0"], batches[1]["boxes0"])
    again.close()


def test_sources_measure_on_what_training_never_sees(data: MqtData) -> None:
    sources = Sources(data)
    (held_out,), (unseen,) = (sources.sequences("mot17", split) for split in ("held_out", "unseen"))
    assert (held_out.name, unseen.name) == ("StoryWorld-8001", "StoryWorld-9001")
    assert held_out.length == len(list(held_out.frames()))
    assert held_out.ground_truth.targets.any()
    assert len(held_out.detections["public"]) > 10


def test_annotations_are_read_once_for_all_splits(
    data: MqtData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = mot.read_mot
    calls: list[str] = []
    monkeypatch.setattr(mot, "read_mot", lambda root, *more: calls.append(str(root)) or read(root, *more))
    sources = Sources(dataclasses.replace(data, cache_dir=str(tmp_path)))
    for split in ("train", "held_out", "unseen"):
        assert len(sources.split("mot17", split)) > 0
    assert calls == [data.root["mot17"]]
    with pytest.raises(StoryjaxError, match="the split of mot17"):
        sources.split("mot17", "validation")


def test_one_split_of_a_data_set_is_evaluated_and_unseen_beside_it() -> None:
    data = MqtData(dataset="mot20", eval_splits=("held_out", "unseen", "tao:validation"))
    assert data.evaluated() == {"mot20": ("held_out", True), "tao": ("validation", False)}
    with pytest.raises(StoryjaxError, match="one split of mot17"):
        MqtData(eval_splits=("mot17:train", "mot17:held_out")).evaluated()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dataset": "mot71"}, "mot17"),
        ({"dataset": "coco"}, "coco has no sequences"),
        ({"root": {"mot71": "x"}}, "mot17"),
        ({"eval_splits": ("gmot:test",)}, "gmot40"),
    ],
)
def test_slips_in_the_config_are_named(changes: dict, line: str) -> None:
    with pytest.raises(StoryjaxError, match=line):
        MqtData(**changes)


def test_an_unknown_count_of_storyworld_is_named(data: MqtData, tmp_path: Path) -> None:
    wrong = {"coco": {"cuonts": {}}}
    sources = Sources(MqtData(dataset="coco", mode="detection", root={"coco": str(tmp_path)}, synthetic=wrong))
    with pytest.raises(StoryjaxError, match=r"config\.data\.synthetic: coco"):
        sources.stream(StreamSpec(2, 0))
