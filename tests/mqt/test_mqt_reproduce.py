"""The tables of Chapter 2: every run measures what its rows show, and numbers are the thesis's."""

import pytest

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.mqt.config import MqtData, make_model
from storyjax.mqt.experiment import variant_of
from storyjax.reproduce import find
from storyjax.reproduce.runner import make_config
from storyjax.reproduce.schema import Table
from storyjax.reproduce.tables import mqt, mqt_supplement

WAYS = ("online", "b2f_track", "b2f_id", "b2f_id_tf", "tf")


@pytest.mark.parametrize("table", mqt.TABLES + mqt_supplement.TABLES, ids=lambda table: table.number)
def test_every_row_is_measured_by_its_run(table: Table) -> None:
    for variant in table.variants():
        config = make_config(variant, 0)
        data = from_config(MqtData, config.data, "config.data")
        model, section = make_model(config.model)
        for options in section.sweep.values():
            variant_of(model, section.tracker, options)
        measured = {f"mot17/{score}" for score in ("mota", "idf1")}
        measured |= {f"mot17_{name}/{score}" for name in section.sweep for score in ("mota", "idf1")}
        if section.offline:
            measured |= {f"mot17_offline/{way}/{score}" for way in WAYS for score in ("mota", "idf1")}
        if "coco" in data.evaluated():
            measured = {"coco/det_ap", "coco/pos_ap", "coco/true_ap"}
            if data.mode == "simulated":
                kinds = (*model.config.kinds, "det")
                measured |= {"coco/init_ap", "coco/aggregated_ap", *(f"coco/{kind}_tracking_ap" for kind in kinds)}
        rows = [row for panel in table.panels for row in panel.rows if row.variant == variant]
        assert {row.metric for row in rows} <= measured


def test_numbers_are_the_thesiss() -> None:
    assert [row.thesis for row in find("2.5a").panels[0].rows[:4]] == [68.3, 66.1, 55.9, 54.7]
    assert len(find("2.9").panels[0].rows) == 24
    assert sum(row.thesis for row in find("2.9").panels[0].rows if "MOTA" in row.label) == pytest.approx(715.6)
    assert sum(row.thesis for row in find("2.10").panels[0].rows if "IDF1" in row.label) == pytest.approx(574.9)
    assert [row.thesis for row in find("2.11b").panels[0].rows[-4:]] == [72.1, 73.3, 68.9, 72.1]
    assert [row.thesis for row in find("2.8c").panels[0].rows] == [54.7, 61.1, 71.1, 71.5]
    assert [row.thesis for row in find("2.6b").panels[0].rows[6:8]] == [70.5, 68.6]


def test_rows_without_det_have_none_beside_tracks_and_the_baseline_is_that_of_table_2_6() -> None:
    for number in ("2.5", "2.9", "2.10", "2.11"):
        for panel in find(number).panels:
            for row in panel.rows:
                config = make_config(row.variant, 0)
                model, section = make_model(config.model)
                kinds = row.label.partition(":")[0].split("+")
                if panel.head == "queries":
                    assert model.config.detect == ("det" in kinds), row.label
                    assert set(model.config.kinds) == set(kinds) - {"det"}, row.label
                tracker = section.tracker
                assert (tracker.memory_first, tracker.memory_last, tracker.hypotheses) == (0, 1, 1), row.label


def test_a_mistake_in_a_sweep_is_an_error_before_training() -> None:
    config = make_config(find("2.6").variants()[0], 0)
    model, section = make_model(config.model)
    with pytest.raises(StoryjaxError, match="memory_frist"):
        variant_of(model, section.tracker, {"memory_frist": 1})
