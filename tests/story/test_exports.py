"""Exports: each file is what its format demands, whatever names hold."""

import csv
import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.data.mot_text import read_rows
from storyjax.story.export.document import document, write_document
from storyjax.story.export.elan import apart
from storyjax.story.export.formats import NAMES, export
from storyjax.story.store import Story
from tests.story.small_story import make_story

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "story.schema.json").read_text("utf-8"))
EVIL = '<b>"Ana" & Cø]]></b>\x07'
RIGHT_TO_LEFT = "آنا"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return make_story(tmp_path / "story")


def rename(story: Story, old: str, new: str) -> None:
    with story.transaction() as db:
        db.execute("UPDATE entities SET name = ? WHERE name = ?", (new, old))
        db.execute("UPDATE utterances SET label = ? WHERE label = ?", (new, old))


def test_the_document_is_by_the_published_schema(story: Story) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    made = json.loads(write_document(story).read_text("utf-8"))
    jsonschema.validate(made, SCHEMA)
    assert made == document(story)
    assert [entity["name"] for entity in made["entities"]] == ["Ana", "Ben", "Chia", "Person 1"]
    (film,) = made["films"]
    assert film["shots"][1]["captions"] == [{"kind": "place", "text": "garden", "confidence": 0.9, "model": "clip"}]
    assert film["utterances"][4]["label"] == "Person 1"
    made["films"][0]["tracks"][0]["kind"] = "ghost"
    with pytest.raises(jsonschema.ValidationError, match="ghost"):
        jsonschema.validate(made, SCHEMA)


@pytest.mark.parametrize("name", [EVIL, RIGHT_TO_LEFT])
def test_elan_documents_are_whole_and_hold_any_name(story: Story, tmp_path: Path, name: str) -> None:
    rename(story, "Ana", name)
    (path,) = export(story, "elan", tmp_path / "film.eaf")
    root = ET.fromstring(path.read_text("utf-8"))
    assert (root.tag, root.get("FORMAT"), root.get("VERSION")) == ("ANNOTATION_DOCUMENT", "3.0", "3.0")
    assert [child.tag for child in root if child.tag != "TIER"] == ["HEADER", "TIME_ORDER", "LINGUISTIC_TYPE"]
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    assert all(re.fullmatch(r"ts\d+", str(slot)) for slot in slots)
    tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
    shown = name.replace("\x07", "\N{REPLACEMENT CHARACTER}")
    assert {"shots", "places", f"{shown} seen", f"{shown} said", "Chia seen"} <= set(tiers)
    types = {kind.get("LINGUISTIC_TYPE_ID") for kind in root.iter("LINGUISTIC_TYPE")}
    ids = []
    for tier in tiers.values():
        assert tier.get("LINGUISTIC_TYPE_REF") in types
        spans = []
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            ids.append(one.get("ANNOTATION_ID"))
            spans.append((slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")]))
        assert all(a < b for a, b in spans)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert len(set(ids)) == len(ids)
    said = [one.findtext("ANNOTATION_VALUE") for one in tiers[f"{shown} said"].iter("ALIGNABLE_ANNOTATION")]
    assert said == ["Good morning, where is the dog?", "I lost my keys again.", "Good night."]


def test_annotations_of_a_tier_do_not_overlap() -> None:
    assert apart([(1.0, 3.0, "a"), (2.0, 2.0, "b"), (2.0, 4.0, "c")]) == [
        (1000, 2000, "a"),
        (2000, 2001, "b"),
        (2001, 4000, "c"),
    ]


def test_subtitles_have_voices_and_no_markup_of_a_name(story: Story, tmp_path: Path) -> None:
    rename(story, "Ana", EVIL)
    (path,) = export(story, "vtt", tmp_path / "subtitles")
    lines = path.read_text("utf-8").splitlines()
    assert (lines[0], lines[2]) == ("WEBVTT", "00:00:02.000 --> 00:00:04.000")
    assert lines[3].startswith('<v &lt;b&gt;"Ana" &amp; Cø]]&gt;&lt;/b&gt;>Good morning')
    (path,) = export(story, "rttm", tmp_path / "film.rttm")
    words = [line.split() for line in path.read_text("utf-8").splitlines()]
    assert [row[7] for row in words][1:4:2] == ["Ben", "Ben"]
    assert all(len(row) == 10 and row[0] == "SPEAKER" for row in words)


def test_tables_and_tracks_can_be_read_back(story: Story, tmp_path: Path) -> None:
    rename(story, "Ana", EVIL)
    files = {path.name: path for path in export(story, "csv", tmp_path / "tables")}
    assert set(files) == {"shots.csv", "appearances.csv", "utterances.csv", "tracks.csv"}
    with open(files["appearances.csv"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["start"], row["end"]) for row in rows][:2] == [
        (EVIL, "0.0", "10.0"),
        ("Ben", "4.0", "10.0"),
    ]
    (path,) = export(story, "mot", tmp_path / "film.txt")
    found = read_rows(path)
    assert len(found) == sum(int(2 * length) for length in (10, 6, 10, 6, 20, 17, 20))
    assert found.frame[0] == 1
    assert found.xywh_px[0].tolist() == pytest.approx([32, 48, 64, 144])


def test_manifests_have_what_viewers_need(story: Story, tmp_path: Path) -> None:
    (path,) = export(story, "iiif", tmp_path / "iiif", url="https://example.org/films/")
    manifest = json.loads(path.read_text("utf-8"))
    assert (manifest["type"], manifest["id"]) == ("Manifest", "https://example.org/films/garden.json")
    (canvas,) = manifest["items"]
    assert (canvas["type"], canvas["duration"], canvas["width"]) == ("Canvas", 60.0, 320)
    body = canvas["items"][0]["items"][0]["body"]
    assert (body["id"], body["format"]) == ("https://example.org/films/garden.mp4", "video/mp4")
    seen, said = canvas["annotations"]
    assert seen["items"][0]["target"] == f"{canvas['id']}#t=0.000,10.000"
    assert (said["items"][4]["motivation"], said["items"][4]["body"]["value"]) == (
        "supplementing",
        "Person 1: I am the postman.",
    )
    ids = [item["id"] for page in (seen, said) for item in page["items"]]
    assert len(set(ids)) == len(ids)


def test_what_a_person_can_get_wrong(story: Story, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="--to"):
        export(story, "docx", tmp_path / "x")
    with pytest.raises(StoryjaxError, match=r"has no film 'gardens'.*garden"):
        export(story, "vtt", tmp_path / "x", film="gardens")
    film = tmp_path / "garden.mp4"
    film.write_bytes(b"film")
    for to in NAMES:
        with pytest.raises(StoryjaxError, match=r"garden\.mp4"):
            export(story, to, film)
    assert film.read_bytes() == b"film"


def test_the_command(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.vtt"
    assert run(["story", "export", str(story.folder), "--to", "vtt", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert run(["story", "export", str(tmp_path / "none"), "--to", "vtt", "--out", str(out)]) == 2
    assert "no story in" in capsys.readouterr().err
    assert run(["story", "exprot", str(story.folder)]) == 2
    assert "Did you mean 'export'" in capsys.readouterr().err
