"""Tables 2.1 to 2.4, and every table of Chapter 2 on real data: its runs, and what is missing for them."""

from pathlib import Path

import pytest

from storyjax.cli.main import run as command
from storyjax.core.config import from_config
from storyjax.mqt.config import MqtData, make_model
from storyjax.mqt.datasets import Sources
from storyjax.mqt.experiment import variant_of
from storyjax.reproduce import TABLES, find
from storyjax.reproduce.missing import missing
from storyjax.reproduce.runner import make_config
from storyjax.reproduce.schema import Table, on_real_data
from storyjax.reproduce.tables import mqt_benchmarks
from storyjax.storyworld.export.tracks_pictures import export_tao

CHAPTER = [table for table in TABLES if table.number.startswith("2.")]


@pytest.mark.parametrize("table", CHAPTER, ids=lambda table: table.number)
def test_every_row_has_its_run_on_real_data(table: Table) -> None:
    real = on_real_data(table)
    assert [len(panel.rows) for panel in real.panels] == [len(panel.rows) for panel in table.panels]
    for variant in real.variants():
        one = variant
        while one is not None:
            assert "embedded" not in one.config
            assert "storyworld" not in one.config
            config = make_config(one, 0)
            data = from_config(MqtData, config.data, "config.data")
            model, section = make_model(config.model, config.precision)
            assert data.synthetic is None
            assert config.precision == "bfloat16"
            assert model.config.detr.mlp_width == 2048
            for options in section.sweep.values():
                variant_of(model, section.tracker, options)
            one = one.start
        metrics = {row.metric for panel in real.panels for row in panel.rows if row.variant == variant}
        data = from_config(MqtData, make_config(variant, 0).data, "config.data")
        assert all(metric.startswith(tuple(data.evaluated())) for metric in metrics)


@pytest.mark.parametrize("table", mqt_benchmarks.TABLES, ids=lambda table: table.number)
def test_benchmarks_evaluate_the_shipped_weights_under_each_protocol(table: Table) -> None:
    for variant in table.variants():
        config = make_config(variant, 0)
        data = from_config(MqtData, config.data, "config.data")
        _, section = make_model(config.model)
        assert config.train.steps == 0
        assert config.init.checkpoint == "shipped:mqt_storyworld"
        assert (data.detector_of(section.tracker.protocol) is None) == (variant.name in NOTHING_GIVEN)
    numbers = {row.thesis for panel in table.panels for row in panel.rows}
    assert numbers >= THESIS[table.number]


NOTHING_GIVEN = ("mot17_private_frcnn", "mot20_private_frcnn", "init_first")
THESIS = {
    "2.1": {65.4, 66.5, 68.2, 67.9, 69.4, 63.3, 62.1, 66.1, 64.8, 66.9, 55.8, 62.5, 64.5, 63.9, 65.7},
    "2.2": {71.9, 69.6},
    "2.3": {23.95, 31.06, 182, 1077},
    "2.4": {32.11, 39.62},
}


def test_private_plus_is_the_public_procedure_with_other_boxes() -> None:
    variants = {variant.name: make_config(variant, 0) for variant in on_real_data(find("2.1a")).variants()}
    plus, both = (variants[f"mot17_{name}"] for name in ("public_sdp", "private_public_sdp_frcnn"))
    assert (plus.model.tracker.protocol, plus.data.detector) == ("public", "external")
    assert (both.model.tracker.protocol, both.data.detector) == ("private_public", "external+FRCNN")
    assert plus.data.detections_dir == "data/detections/mot17"
    crowd = on_real_data(find("2.1b")).variants()[-1]
    assert make_config(crowd, 0).data.detector == "external+public"


def test_what_is_missing_on_real_data_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["reproduce", "2.2", "--data", "real"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("TAO in data/TAO", "in data/detections/tao_person", "a run in runs/mqt_mot17"):
        assert part in line
    (variant,) = on_real_data(find("2.2")).variants()
    config = make_config(variant, 0)
    assert len(missing(config)) == 4
    for place in ("data/TAO/annotations", "data/detections/tao_person/val", "runs/mqt_mot17"):
        (tmp_path / place).mkdir(parents=True)
    (phrase,) = missing(config)
    assert "weights/resnet-50" in phrase


def test_storyworlds_tao_has_boxes_of_an_imitated_detector(tmp_path: Path) -> None:
    world = export_tao(tmp_path / "tao", {"train": 1, "validation": 1}, detections=True)
    counts = {}
    for part in ("person", "all"):
        data = MqtData(
            dataset="tao",
            root={"tao": str(world)},
            cache_dir=str(tmp_path / "prepared"),
            eval_splits=("tao:validation",),
            detector="external",
            detections_dir=str(world / "detections" / part),
        )
        (video,) = Sources(data).sequences("tao", "validation")
        given = video.given("external")
        counts[part] = len(given)
        assert not len(given) or given.frame.max() <= video.length
    assert counts["all"] > counts["person"]
