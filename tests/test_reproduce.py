"""The claims ledger: its tables can be run, its runs are made once, and what it tells is what came out."""

import dataclasses
import json
import pathlib
from xml.etree import ElementTree

import pytest

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.reproduce import TABLES, find, listing
from storyjax.reproduce.missing import missing, refuse_missing
from storyjax.reproduce.report import Report, judge, markdown
from storyjax.reproduce.runner import make_config, reproduce
from storyjax.reproduce.schema import Above, Claim, Panel, Row, Table, Variant, on_real_data, rising
from storyjax.tcr.config import TasksData
from storyjax.tcr.evaluators import ABLATIONS
from storyjax.tcr.resampler import TcrConfig
from storyjax.train import loop
from storyjax.train.settings import read_settings
from storyjax.train.workdir import write_config, write_results

TOY = f"{pathlib.Path(__file__).parent / 'train' / 'toy.py'}:embedded"
SMALL, LARGE = Variant("small", TOY), Variant("large", TOY, (("optim.learning_rate", 0.05), ("model.width", 64)))
TABLE = Table(
    number="9.9",
    title="toys",
    ours="StoryWorld",
    theirs="the real world",
    panels=(
        Panel(
            "a",
            "width of the toy",
            "width",
            (Row("48", SMALL, "toy/acc", 61.0), Row("64", LARGE, "toy/acc", 66.2, "128")),
            (Claim("wider is better", rising("48", "64")), Claim("by a lot", (Above("64", "48", by=30.0),))),
        ),
        Panel("b", "noise", "noise", (Row("none", SMALL, "toy/acc"), Row("much", SMALL, "toy_noise/acc"))),
    ),
    quick={TOY: (("train.steps", 1),)},
)


class FakeLoop:
    """Stands for `loop.run`: wide toys do better, later seeds worse; writes what a run leaves behind."""

    def __init__(self) -> None:
        self.made: list[pathlib.Path] = []

    def __call__(self, config, workdir, progress):
        self.made.append(workdir)
        acc = 0.5 + 0.2 * (config.model.width == 64) - 0.01 * config.seed
        workdir.mkdir(parents=True, exist_ok=True)
        write_config(workdir, config)
        write_results(workdir, {"toy/acc": acc, "toy_noise/acc": 0.25})
        return {"toy/acc": acc, "toy_noise/acc": 0.25}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    fake = FakeLoop()
    monkeypatch.setattr(loop, "run", fake)
    return fake


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.number)
def test_every_entry_can_be_run_and_judged(table: Table) -> None:
    variants = table.variants()
    for variant in [*variants, *(variant.start for variant in variants if variant.start is not None)]:
        for more in ((), table.quick[variant.config]):
            config = make_config(variant, 1, more)
            settings = read_settings(config)
            assert settings.seed == 1
            if settings.experiment == "tcr" and set(config.data.tasks) == {"nextqa"}:
                data = from_config(TasksData, config.data, "data").tasks["nextqa"]
                assert set(data.ablations) <= set(ABLATIONS)
                from_config(TcrConfig, {**config.model.tcr, "vocab_size": 9, "llm_width": 9}, "tcr")
                given = {"nextqa", *(f"nextqa_{name}" for name in data.ablations)}
                rows = (row for panel in table.panels for row in panel.rows if row.variant == variant)
                assert {row.metric.partition("/")[0] for row in rows} <= given
    for panel in table.panels:
        labels = {row.label: 50.0 for row in panel.rows}
        assert len(labels) == len(panel.rows)
        for claim in panel.claims:
            claim.holds(labels)  # names no row that is not there
    assert all(f"{table.number}{panel.key}" in listing() for panel in table.panels)


@pytest.mark.parametrize(
    "number", [table.number for table in TABLES if table.number.startswith(("3.", "fig3", "sec3"))]
)
def test_chapter_three_can_be_made_on_real_data(number: str) -> None:
    table = on_real_data(find(number))
    assert table.world == "real data"
    for variant in table.variants():
        while variant is not None:
            assert "embedded" not in variant.config
            config = make_config(variant, 0)
            read_settings(config)
            assert config.precision == "bfloat16"
            sections = (config.data, *config.data.get("tasks", {}).values())
            assert all(section.get("synthetic") is None for section in sections)
            variant = variant.start
    with pytest.raises(StoryjaxError, match="has no rows on real data"):
        on_real_data(TABLE)


_LATER = [t.number for t in TABLES if t.number[0] in "456"]


@pytest.mark.parametrize("number", [*_LATER, "fig6.3"])
def test_chapters_four_to_six_say_in_one_line_what_real_data_lack(
    number: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = on_real_data(find(number))
    configs = [make_config(variant, 0) for variant in table.variants()]
    assert all("embedded" not in variant.config for variant in table.variants())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoryjaxError) as caught:
        refuse_missing(f"table {number} on real data", configs)
    line = str(caught.value)
    assert "\n" not in line
    wanted = {"4": "Celebrities in", "5": " in data/", "6": "look-listen-recognise", "f": "look-listen-recognise"}
    assert wanted["4" if number == "4.6" else number[0]] in line or (number == "4.6" and "data/season" in line)


def test_other_clips_and_other_films_are_rows_of_the_real_data_alone() -> None:
    assert find("5.6a").panels[0].cited[0][0] == "ViT-L/14, MRR"
    real = on_real_data(find("5.6"))
    assert [row.label for row in real.panels[0].rows[::2]] == [
        f"{vit}, MRR" for vit in ("ViT-B/16", "ViT-B/32", "ViT-L/14", "ViT-H/14", "SigLIP ViT-SO400M/14")
    ]
    assert all(panel.cited == () for panel in real.panels)
    runs = {panel.key + row.label: row.variant for panel in real.panels for row in panel.rows}
    siglip = make_config(runs["aSigLIP ViT-SO400M/14, MRR"], 0)
    assert (siglip.model.clip.family, siglip.model.pi.width, siglip.data.text_length) == ("siglip", 1152, 64)
    assert siglip.data.also_eval
    (large,) = {row.variant.start.config for row in real.panels[1].rows if row.label.startswith("ViT-L")}
    assert large == "configs/pi_map_imagenet.py:paper"
    assert (
        "weights in weights/clip-vit-h-14 ('storyjax import clip-vit-h-14 --from laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
        " --out weights/clip-vit-h-14')"
    ) in missing(make_config(runs["bViT-H/14, R@1"], 0))
    films = on_real_data(find("5.7"))
    assert {row.metric.partition("/")[0] for row in films.panels[0].rows} == {"cia_unseen"}
    assert len(films.panels[0].claims) == 2
    assert any(
        "another collection in data/condensed_movies" in one for one in missing(make_config(films.variants()[0], 0))
    )


def test_three_shows_and_two_recognisers_are_rows_of_the_real_data() -> None:
    shows = {row.label: make_config(row.variant, 0) for row in on_real_data(find("6.4")).panels[0].rows}
    assert (shows["DER"].data.show, shows["Scrubs: DER"].data.show) == ("Seinfeld", "Scrubs")
    assert len({config.data.cache_dir for config in shows.values()}) == 3
    words = on_real_data(find("6.5")).panels[0]
    assert [label for label, _ in words.cited] == [f"Wav2Vec 2.0, {show}" for show in ("Seinfeld", "Frasier", "Scrubs")]
    engines = {row.label: make_config(row.variant, 0).model.recognition.get("engine") for row in words.rows}
    assert engines["WhisperX medium.en, Frasier"] == "whisperx"
    assert engines["Whisper medium.en, Frasier"] == "faster-whisper"
    counted = on_real_data(find("6.1")).panels[0]
    assert len(counted.rows) == 21
    assert not counted.cited


def test_the_thesis_s_other_rows_stand_beside_and_no_run_makes_them() -> None:
    report = Report(find("4.7"), 1, {("a", row.label): [50.0] for row in find("4.7").panels[0].rows})
    (line,) = [line for line in markdown(report).splitlines() if line.startswith("| R@1: CE*,")]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["R@1: CE*, not made here", "–", "39.1"]
    assert find("4.6").panels[0].rows[-1].thesis == 42.0


def test_on_real_data_ablations_have_their_own_schedule_and_what_came_before() -> None:
    for number, size in (("3.1a", "short"), ("3.2", "paper"), ("3.6a", "short"), ("3.6b", "short")):
        for variant in on_real_data(find(number)).variants():
            assert variant.config == f"configs/tcr_nextqa.py:{size}"
            if number != "3.1a" and not variant.name.startswith("qformer"):
                assert make_config(variant, 0).init.checkpoint == "runs/tcr_ytt_pretrain"


def test_every_row_of_the_thesis_in_chapter_three_can_be_made_on_real_data() -> None:
    for table in (table for table in TABLES if table.number.startswith(("3.", "fig3", "sec3"))):
        rows = [row for panel in table.panels for row in panel.rows]
        assert all(row.variant.real is not None for row in rows if row.thesis is not None), table.number
    queries = {v.name: make_config(v, 0) for v in on_real_data(find("3.6c")).variants()}
    assert [config.model.tcr.queries for config in queries.values()] == [32, 64, 128, 256]
    (variant, *_) = on_real_data(find("3.6c")).variants()
    assert make_config(variant.start.start, 0).model.tcr.queries == 32  # each number from its own stages (i) and (ii)
    dense = make_config(on_real_data(find("3.3")).variants()[-1], 0)
    assert (dense.data.tasks.egoschema.frames, dense.model.tcr.drop_patches) == (184, 0.75)


def test_what_is_missing_for_real_data_is_named_in_one_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = on_real_data(find("3.3"))
    with pytest.raises(StoryjaxError) as refused:
        reproduce(table, tmp_path / "runs", seeds=1, progress=False)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("table 3.3 on real data needs what is not here: ")
    for part in (
        "Ego4D narrations in data/ego4d/v2 (get narrations and videos with Ego4D's own program",
        "EgoSchema in data/egoschema (get questions.json",
        "'storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out weights/blip2-flan-t5-xl'",
        "'python -m storyjax.main --config=configs/tcr_ytt_pretrain.py --workdir=runs/tcr_ytt_pretrain'",
    ):
        assert line.count(part) == 1
    for folder in ("data/ego4d/v2", "data/egoschema", "weights/blip2-flan-t5-xl", "runs/tcr_ytt_pretrain"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").touch()
    assert missing(make_config(table.variants()[0], 0)) == []
    # A head reads the data set of its task and a TCR of an earlier run; what the table's own runs make is not missing.
    head = Variant("nlq_head", "configs/tcr_ego4d_nlq.py:standalone", (("data.root", "data/none"),))
    assert [phrase.partition(" (")[0] for phrase in missing(make_config(head, 0))] == ["Ego4D NLQ in data/none"]
    earlier = make_config(SMALL, 0, (("init.checkpoint", "runs/made"),))
    assert missing(earlier) == ["a run in runs/made"]
    assert missing(earlier, {"runs/made"}) == []


def test_table_3_6_is_the_thesiss() -> None:
    thesis = {panel.key: [row.thesis for row in panel.rows if row.thesis] for panel in find("3.6").panels}
    assert thesis["a"] == [64.9, 61.1, 55.3]
    assert thesis["b"] == [64.4, 66.2, 65.9]
    assert thesis["c"] == [62.7, 65.8, 66.2, 64.3]
    assert [panel.key for panel in find("3.6a").panels] == ["a"]
    with pytest.raises(StoryjaxError, match=r"unknown '3\.6x'"):
        find("3.6x")


def test_makes_each_run_once(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    first = reproduce(TABLE, tmp_path, seeds=2, progress=False)
    places = [str(path.relative_to(tmp_path / "toy_embedded")) for path in fake.made]
    assert places == ["small/seed_0", "large/seed_0", "small/seed_1", "large/seed_1"]
    assert first.values["a", "64"] == pytest.approx([70.0, 69.0])
    assert reproduce(TABLE, tmp_path, seeds=2, progress=False) == first
    reproduce(TABLE, tmp_path, seeds=3, progress=False)
    assert len(fake.made) == 6
    # One that was not finished is made again; one of another config is not touched.
    (fake.made[0] / "results.json").unlink()
    reproduce(TABLE, tmp_path, seeds=1, progress=False)
    assert len(fake.made) == 7
    other = dataclasses.replace(LARGE, overrides=(("model.width", 32),))
    panels = (Panel("a", "", "", (Row("32", other, "toy/acc"),)),)
    with pytest.raises(StoryjaxError, match=r"another config: model\.width was 64, is 32"):
        reproduce(dataclasses.replace(TABLE, panels=panels), tmp_path, seeds=1, progress=False)
    assert len(fake.made) == 7


def test_a_longer_run_replaces_a_shorter_one(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    reproduce(find("9.9b", (TABLE,)), tmp_path, seeds=1, progress=False)
    longer = dataclasses.replace(SMALL, overrides=(("train.steps", 99),))
    panels = (Panel("b", "", "", (Row("long", longer, "toy/acc"),)),)
    reproduce(dataclasses.replace(TABLE, panels=panels), tmp_path, seeds=1, progress=False)
    assert len(fake.made) == 2


def test_a_variant_may_start_from_another(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    first = Variant("first", TOY, (("train.steps", 3),))
    started = dataclasses.replace(SMALL, start=first)
    table = dataclasses.replace(TABLE, panels=(Panel("a", "", "", (Row("1", started, "toy/acc"),)),))
    reproduce(table, tmp_path, seeds=2, progress=False)
    assert [str(path.relative_to(tmp_path / "toy_embedded")) for path in fake.made] == [
        "first/seed_0",
        "small/seed_0",
        "small/seed_1",
    ]
    config = json.loads((fake.made[2] / "config.json").read_text())
    assert config["init"]["checkpoint"] == str(fake.made[0])
    # What only led to runs that are there is not made again.
    (fake.made[0] / "results.json").unlink()
    reproduce(table, tmp_path, seeds=2, progress=False)
    assert len(fake.made) == 3


def test_a_row_of_folds_is_their_mean(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    folds = ((("model.width", 64),), (("model.width", 48),))
    crossed = dataclasses.replace(SMALL, name="crossed", folds=folds)
    table = dataclasses.replace(TABLE, panels=(Panel("a", "", "", (Row("1", crossed, "toy/acc"),)),))
    report = reproduce(table, tmp_path, seeds=2, progress=False)
    assert [path.parent.name for path in fake.made] == ["crossed_fold_1", "crossed_fold_2"] * 2
    assert report.values["a", "1"] == pytest.approx([60.0, 59.0])


def test_quick_runs_lie_apart(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    report = reproduce(TABLE, tmp_path, seeds=1, quick=True, progress=False)
    assert all((tmp_path / "quick") in path.parents for path in fake.made)
    assert "the numbers mean nothing" in markdown(report)
    assert "wider is better" not in markdown(report)
    assert json.loads((fake.made[0] / "config.json").read_text())["train"]["steps"] == 1


def test_a_metric_that_is_not_there_is_named(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    panels = (Panel("a", "", "", (Row("1", SMALL, "toy/wer"),)),)
    with pytest.raises(StoryjaxError, match=r"'small' .* give no toy/wer, only toy/acc"):
        reproduce(dataclasses.replace(TABLE, panels=panels), tmp_path, seeds=1, progress=False)


def test_says_how_far_it_is(fake: FakeLoop, tmp_path: pathlib.Path, capsys) -> None:
    reproduce(TABLE, tmp_path, seeds=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "storyjax: run 1 of 2: toy_embedded small, seed 0 (2 to be made)"
    assert lines[1] == "storyjax: run 2 of 2: toy_embedded large, seed 0 (1 to be made, about 1 min left)"


def test_tells_numbers_and_verdicts(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    report = reproduce(TABLE, tmp_path, seeds=3, progress=False)
    text = markdown(report)
    assert text == (tmp_path / "9.9.md").read_text()
    assert "| width | ours (StoryWorld) | thesis     |" in text
    assert "| 48    | 49.0 ± 1.0        | 61.0       |" in text
    assert "| 64    | 69.0 ± 1.0        | 66.2 (128) |" in text
    assert "- holds (3 of 3 seeds): wider is better" in text
    assert "- DOES NOT HOLD (0 of 3 seeds): by a lot" in text
    told = json.loads((tmp_path / "9.9.json").read_text())
    assert told["rows"][1]["mean"] == pytest.approx(69.0)
    assert told["rows"][1]["thesis_label"] == "128"
    assert [claim["holds"] for claim in told["claims"]] == [True, False]


def test_a_figure_is_drawn_of_means_and_spreads(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    table = dataclasses.replace(TABLE, panels=TABLE.panels[:1], plot=True)
    reproduce(table, tmp_path, seeds=2, progress=False)
    drawn = ElementTree.parse(tmp_path / "9.9.svg").getroot()
    kinds = [element.tag.rpartition("}")[2] for element in drawn.iter()]
    assert kinds.count("circle") == 2
    heights = [float(element.get("cy")) for element in drawn.iter() if element.tag.endswith("circle")]
    assert heights[1] < heights[0]  # wider is better, and up is more
    assert {"48", "64"} <= {element.text for element in drawn.iter()}
    reproduce(TABLE, tmp_path / "other", seeds=1, progress=False)
    assert not (tmp_path / "other" / "9.9.svg").exists()


def test_a_figure_has_further_curves_with_their_names(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    rows = (*TABLE.panels[0].rows, Row("baseline, 32", SMALL, "toy/acc"), Row("baseline, 64", SMALL, "toy/acc"))
    panel = dataclasses.replace(TABLE.panels[0], rows=rows)
    reproduce(dataclasses.replace(TABLE, panels=(panel,), plot=True), tmp_path, seeds=1, progress=False)
    drawn = list(ElementTree.parse(tmp_path / "9.9.svg").getroot().iter())
    kinds = [element.tag.rpartition("}")[2] for element in drawn]
    assert (kinds.count("circle"), kinds.count("polyline")) == (4, 2)
    assert {"32", "48", "64", "baseline"} <= {element.text for element in drawn}


def test_claims_are_judged_by_means_and_by_seed() -> None:
    values = {("a", "48"): [50.0, 50.0, 50.0], ("a", "64"): [60.0, 49.0, 60.0]}
    report = Report(TABLE, 3, values)
    panel = TABLE.panels[0]
    assert judge(report, panel, panel.claims[0]) == (True, 2)
    near = {"x": 60.0, "y": 59.0}
    assert Above("x", "y", by=1.0).holds(near)
    assert not Above("x", "y", by=1.1).holds(near)
    assert Above("y", "x", by=-1.0).holds(near)
    assert not Above("x", 60.0).holds(near)


def test_a_real_run_gives_its_row(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(pathlib.Path(TOY).parent)
    import toy

    monkeypatch.setattr(loop, "build_experiment", lambda config: toy.experiment())
    panels = (Panel("a", "", "", (Row("toy", SMALL, "toy/mse"),)),)
    table = dataclasses.replace(TABLE, panels=panels)
    report = reproduce(table, tmp_path, seeds=1, quick=True, progress=False)
    monkeypatch.setattr(loop, "run", None)  # found made
    assert reproduce(table, tmp_path, seeds=1, quick=True, progress=False) == report


def test_shares_have_two_decimals_and_percentages_one(fake: FakeLoop, tmp_path: pathlib.Path) -> None:
    shares = dataclasses.replace(TABLE, scale=1.0)
    assert "| none  | 0.49 ± 0.01 " in markdown(reproduce(shares, tmp_path, seeds=3))
    assert "| none  | 49.0 ± 1.0 " in markdown(reproduce(TABLE, tmp_path, seeds=3))
