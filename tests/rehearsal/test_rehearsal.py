"""A dress rehearsal of the paper variants of Chapters 2 and 3: small networks, otherwise as on a TPU pod.

Every variant runs with small widths and depths but the paper's structure: streaming, bfloat16, accumulation, a mesh of
2 × 2 × 2 (eight simulated devices), weights in the layouts in which they are published, stage after stage from the
checkpoint before, StoryWorld in the official layout of each data set, a challenge's files, export and predictor.
`python -m pytest -m long tests/rehearsal` runs all variants; a part of them is in every run of the tests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import published_files
import pytest
import small_worlds

from storyjax.storyworld.story.vocabulary import vocabulary

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"

# By workdir, as later stages name it: the config, and a metric that the run has.
RUNS = {
    "mqt_coco": ("mqt_coco:paper", "coco/det_ap"),
    "mqt_coco_pairs": ("mqt_coco:pairs", "coco/det_tracking_ap"),
    "mqt_crowdhuman": ("mqt_crowdhuman:paper", "mot17/mota"),
    "mqt_mot17": ("mqt_mot17:paper", "mot17/mota"),
    "mqt_mot20": ("mqt_mot20:paper", "mot20/mota"),
    "mqt_gmot40": ("mqt_gmot40:paper", "gmot40/mota"),
    "mqt_tao": ("mqt_tao:paper", "tao/track_map"),
    "mqt_tao_person": ("mqt_tao:person", "tao/mota"),
    "mqt_tao_person_search": ("mqt_tao:person_search", "tao/best_confirm"),
    "mqt_tao_maskrcnn": ("mqt_tao:maskrcnn", "tao/track_map"),
    "mqt_coco_detr": ("mqt_coco:detr", "coco/det_ap"),
    "mqt_coco_pairs_detr": ("mqt_coco:detr_pairs", "coco/det_tracking_ap"),
    "mqt_crowdhuman_detr": ("mqt_crowdhuman:detr", "mot17/mota"),
    "mqt_mot17_detr": ("mqt_mot17:detr", "mot17/mota"),
    "mqt_mot20_detr": ("mqt_mot20:detr", "mot20/mota"),
    "mqt_gmot40_detr": ("mqt_gmot40:detr", "gmot40/mota"),
    "mqt_tao_detr": ("mqt_tao:detr", "tao/track_map"),
    "mqt_tao_person_detr": ("mqt_tao:detr_person", "tao/mota"),
    "mqt_tao_person_search_detr": ("mqt_tao:detr_person_search", "tao/best_confirm"),
    "tcr_ytt_init": ("tcr_ytt_init:paper", "ytt/retrieved"),
    "tcr_ytt_pretrain": ("tcr_ytt_pretrain:paper", "captioning/cider"),
    "tcr_nextqa": ("tcr_nextqa:paper", "nextqa/acc"),
    "tcr_nextqa_short": ("tcr_nextqa:short", "nextqa/acc"),
    "tcr_egoschema": ("tcr_egoschema:paper", "egoschema/acc"),
    "tcr_egoschema_more_frames": ("tcr_egoschema:more_frames", "egoschema/acc"),
    "tcr_msrvtt": ("tcr_msrvtt:paper", "msrvtt/cider"),
    "tcr_ego4d_lta": ("tcr_ego4d_lta:paper", "lta/action_ed"),
    "tcr_ego4d_mq": ("tcr_ego4d_mq:paper", "mq/avg_map"),
    "tcr_ego4d_mq_standalone": ("tcr_ego4d_mq:standalone", "standalone_mq/avg_map"),
    "tcr_ego4d_nlq": ("tcr_ego4d_nlq:paper", "nlq/mr@1"),
    "tcr_ego4d_nlq_standalone": ("tcr_ego4d_nlq:standalone", "standalone_nlq/mr@1"),
    "tcr_multitask": ("tcr_multitask:paper", "lta/action_ed"),
    "tcr_kinetics": ("tcr_kinetics:paper", "kinetics/acc"),
    "tcr_kinetics_selection": ("tcr_kinetics:selection", "selection/precision"),
    "tcr_countix": ("tcr_countix:paper", "countix/mae"),
}
CHAPTERS = ("mqt", "tcr")
# What every run of the tests rehearses: a first stage from published weights, of each chapter, and its data.
SHORT = {"mqt": ("mqt_coco_detr", "coco"), "tcr": ("tcr_ytt_init", "yttemporal")}


def rehearse(folder: Path, workdirs: tuple[str, ...], worlds: tuple[str, ...] = tuple(small_worlds.WORLDS)) -> None:
    """Runs these, one after the other, and checks what they did."""
    published_files.write(folder, vocabulary())
    small_worlds.write(folder, worlds)
    runs = [f"{RUNS[name][0]}=runs/{name}" for name in workdirs]
    command = [sys.executable, str(HERE / "rehearse.py"), str(folder), *runs]
    ended = subprocess.run(command, env=os.environ | {"STORYJAX_CACHE": "off"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]  # the export says what it wrote, too
    happened = {line["run"]: line for line in map(json.loads, lines)}
    for name in workdirs:
        run, metric = RUNS[name]
        line = happened[run]
        assert line["steps"] == [1, 2], run
        assert np.isfinite(line["losses"]).all(), run
        assert metric in line["results"], (run, sorted(line["results"]))
        assert line["again"] == line["results"], run
        if line["predicted"] is not None:  # a challenge has a file for what the config evaluates
            assert all(line["predicted"].values()), run
            assert line["files"], run
        assert all(line["frozen"].values()), (run, [path for path, same in line["frozen"].items() if not same])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_first_stage_of_a_chapter(chapter: str, tmp_path: Path) -> None:
    workdir, world = SHORT[chapter]
    rehearse(tmp_path, (workdir,), (world,))


@pytest.mark.long
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_paper_variant(chapter: str, tmp_path: Path) -> None:
    rehearse(tmp_path, tuple(name for name in RUNS if name.startswith(chapter)))


def test_no_paper_variant_is_left_out() -> None:
    """Every variant of the two chapters' configs that is not small, nor of StoryWorld alone, is in the table above."""
    there = set()
    for path in (*CONFIGS.glob("mqt_*.py"), *CONFIGS.glob("tcr_*.py")):
        namespace: dict = {}
        exec(compile(path.read_text(), str(path), "exec"), namespace)
        there |= {f"{path.stem}:{variant}" for variant in namespace["VARIANTS"]}
    small = {name for name in there if name.endswith(("embedded", "storyworld")) or "_storyworld_" in name}
    small |= {name for name in there if name.startswith("mqt_series")}  # of StoryWorld alone
    assert {run for run, _ in RUNS.values()} == there - small
