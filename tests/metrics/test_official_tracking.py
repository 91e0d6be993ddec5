"""Tracking against TrackEval's whole evaluation, preparation of the official files included."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trackeval.datasets import TAO, MotChallenge2DBox
from trackeval.metrics import CLEAR, HOTA, Identity, TrackMAP

from storyjax.data.builders.mot import read_mot
from storyjax.data.builders.tao import Tao
from storyjax.data.mot_text import Rows, read_rows, rows
from storyjax.metrics.tracking import track_map, tracking_scores

BOX = "100,100,40,80"  # left, top, width, height
QUIET = {"PRINT_CONFIG": False}


def lay_out(root: Path, benchmark: str, truth: str, tracks: str, frames: int) -> None:
    """The folders in which MOTChallenge publishes a sequence and TrackEval looks for a tracker's file."""
    sequence = root / "gt" / f"{benchmark}-train" / "S-01"
    (sequence / "gt").mkdir(parents=True)
    (sequence / "gt" / "gt.txt").write_text(truth)
    ini = (
        f"[Sequence]\nname=S-01\nimDir=img1\nframeRate=30\nseqLength={frames}\nimWidth=640\nimHeight=480\nimExt=.jpg\n"
    )
    (sequence / "seqinfo.ini").write_text(ini)
    folder = root / "trackers" / f"{benchmark}-train" / "ours" / "data"
    folder.mkdir(parents=True)
    (folder / "S-01.txt").write_text(tracks)


def official_mot(root: Path, benchmark: str, frames: int) -> dict[str, float]:
    """TrackEval's own numbers."""
    places = {"GT_FOLDER": str(root / "gt"), "TRACKERS_FOLDER": str(root / "trackers")}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = MotChallenge2DBox({**places, "BENCHMARK": benchmark, "SEQ_INFO": {"S-01": frames}, **QUIET})
        data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", "S-01"), "pedestrian")
        clear, identity, hota = (tool.eval_sequence(data) for tool in (CLEAR(QUIET), Identity(QUIET), HOTA()))
    return {"mota": clear["MOTA"], "idf1": identity["IDF1"], "hota": float(np.mean(hota["HOTA"]))}


def ours_mot(root: Path, benchmark: str) -> dict[str, float]:
    """Ours, the truth as its builder reads it."""
    folder = root / "official"
    folder.mkdir()
    (folder / "train").symlink_to(root / "gt" / f"{benchmark}-train")
    (sequence,) = read_mot(folder, benchmark).sequences
    tracks = read_rows(root / "trackers" / f"{benchmark}-train" / "ours" / "data" / "S-01.txt")
    scores = tracking_scores([sequence.truth], [tracks], sequence.benchmark)
    return {name: scores[name] for name in ("mota", "idf1", "hota")}


def test_a_pushchair_is_a_distractor_of_mot20_alone(tmp_path: Path) -> None:
    # A pedestrian and a non-motorised vehicle (class 6), both found: MOT20 excuses the second box, MOT17 does not.
    truth, tracks = (
        f"1,1,{BOX},1,1,1\n1,2,300,100,60,60,0,6,1\n",
        f"1,1,{BOX},1,-1,-1,-1\n1,2,300,100,60,60,1,-1,-1,-1\n",
    )
    for benchmark, mota in (("MOT17", 0.0), ("MOT20", 1.0)):
        root = tmp_path / benchmark
        lay_out(root, benchmark, truth, tracks, 1)
        ours = ours_mot(root, benchmark)
        assert ours == pytest.approx(official_mot(root, benchmark, 1), abs=1e-6)
        assert ours["mota"] == mota


def test_boxes_are_matched_with_all_true_ones_before_classes_are_left_out(tmp_path: Path) -> None:
    # The second found box is nearest to a car (class 3, IoU .96), then to a static person (class 7, .82), then to the
    # second pedestrian (.54). The car takes it, so the static person doesn't excuse it, and it finds the pedestrian.
    truth = f"1,1,{BOX},1,1,1\n1,2,450,100,100,100,1,1,1\n1,3,430,100,100,100,0,7,1\n1,4,422,100,100,100,0,3,1\n"
    tracks = f"1,1,{BOX},1,-1,-1,-1\n1,2,420,100,100,100,1,-1,-1,-1\n"
    lay_out(tmp_path, "MOT17", truth, tracks, 1)
    ours = ours_mot(tmp_path, "MOT17")
    assert ours == pytest.approx(official_mot(tmp_path, "MOT17", 1), abs=1e-6)
    assert ours["mota"] == 1.0


@pytest.mark.parametrize("benchmark", ["MOT17", "MOT20"])
def test_crowded_sequences_score_as_trackeval_scores_them(benchmark: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    truth, tracks, frames = [], [], 12
    start = rng.uniform(0, 150, (14, 2))
    kinds = rng.choice([1, 1, 1, 2, 3, 6, 7, 8, 9, 12, 13], 14)
    for frame in range(1, frames + 1):
        for number, (place, kind) in enumerate(zip(start + 2.0 * frame, kinds, strict=True), 1):
            considered = int(kind == 1 and rng.random() < 0.9)
            truth.append(f"{frame},{number},{place[0]:.1f},{place[1]:.1f},60,90,{considered},{kind},1")
            x, y = place + rng.normal(0, 6, 2)
            if rng.random() < 0.85:
                tracks.append(f"{frame},{number},{x:.1f},{y:.1f},60,90,{rng.random():.2f},-1,-1,-1")
    lay_out(tmp_path, benchmark, "\n".join(truth) + "\n", "\n".join(tracks) + "\n", frames)
    assert ours_mot(tmp_path, benchmark) == pytest.approx(official_mot(tmp_path, benchmark, frames), abs=1e-6)


def federated(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations in TAO's layout, and a tracker's results: some categories are negative or not exhaustively labelled
    in some videos, and others not annotated at all."""
    rng = np.random.default_rng(seed)
    categories: list[dict[str, Any]] = [{"id": 10 * c, "name": f"kind_{c}"} for c in range(1, 6)]
    categories[0]["merged"] = [{"id": 50, "name": "kind_5"}]
    content: dict[str, Any] = {
        "categories": categories,
        **{k: [] for k in ("videos", "images", "tracks", "annotations")},
    }
    results = []
    for video in range(1, 5):
        drawn = rng.permutation([10, 20, 30, 40])
        content["videos"].append(
            {
                "id": video,
                "name": f"val/YFCC100M/v_{video}",
                "width": 640,
                "height": 480,
                "neg_category_ids": [int(drawn[3])] if video % 2 else [],
                "not_exhaustive_category_ids": [int(drawn[0])],
            }
        )
        for frame in range(4):
            image = 10 * video + frame
            name = f"val/YFCC100M/v_{video}/frame{frame:04d}.jpg"
            content["images"].append({"id": image, "video_id": video, "file_name": name, "frame_index": 30 * frame})
        for number in range(6):
            track, category = 100 * video + number, int(drawn[number % 3]) if number < 5 else 50
            box = [*rng.integers(0, 300, 2).tolist(), 60, 80]
            content["tracks"].append({"id": track, "category_id": category, "video_id": video})
            score, seen = float(rng.random()), int(rng.choice([category, category, *drawn]))
            for frame in range(4):
                one = {"image_id": 10 * video + frame, "video_id": video, "track_id": track}
                annotation = {**one, "id": len(content["annotations"]) + 1, "bbox": box, "category_id": category}
                content["annotations"].append(annotation)
                moved = [v + d for v, d in zip(box, rng.integers(-12, 13, 4).tolist(), strict=True)]
                results.append({**one, "bbox": moved, "category_id": seen, "score": score})
    return content, results


def official_tao(root: Path, content: dict[str, Any], results: list[dict[str, Any]]) -> float:
    folder = root / "trackers" / "ours" / "data"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    (root / "gt").mkdir()
    (root / "gt" / "validation.json").write_text(json.dumps(content))
    tool = TrackMAP({"IOU_THRESHOLDS": [0.5], **QUIET})
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = TAO({"GT_FOLDER": str(root / "gt"), "TRACKERS_FOLDER": str(root / "trackers"), **QUIET})
        raw = {sequence: dataset.get_raw_seq_data("ours", sequence) for sequence in dataset.seq_list}
        by_class = []
        for name in dataset.class_list:
            prepared = {s: tool.eval_sequence(dataset.get_preprocessed_seq_data(raw[s], name)) for s in raw}
            by_class.append(tool.combine_sequences(prepared)["AP_all"][0])
    return float(np.mean([value for value in by_class if value > -1]))


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_track_map_knows_which_categories_are_annotated(seed: int, tmp_path: Path) -> None:
    content, results = federated(seed)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "validation.json").write_text(json.dumps(content))
    sequences = Tao.read(tmp_path).sequences
    kinds = {category["id"]: i for i, category in enumerate(content["categories"])}
    kinds[50] = kinds[10]  # merged
    found: list[Rows] = []
    for video in content["videos"]:
        mine = [each for each in results if each["video_id"] == video["id"]]
        columns = ([each[key] for each in mine] for key in ("image_id", "track_id", "bbox", "score"))
        frames, ids, boxes, scores = columns
        found.append(rows(np.array(frames) % 10 + 1, ids, boxes, scores, [kinds[each["category_id"]] for each in mine]))
    truth = [each.truth for each in sequences]
    labelled = [each.labelled for each in sequences]
    official = official_tao(tmp_path, content, results)
    assert track_map(truth, found, labelled=labelled) == pytest.approx(official, abs=1e-6)
    assert track_map(truth, found) < official - 0.01  # what isn't annotated would count as wrong
