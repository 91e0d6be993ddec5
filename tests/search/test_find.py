"""`storyjax find`: from photos and a folder of videos to ranked clips, an HTML report, and one line for every error."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from colours import BLUE, GREEN, RED, Colours, photo, video
from PIL import Image

from storyjax.cli import main
from storyjax.cli.find_things import ThingOptions


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, photos, a gallery with two people and a thing, and an index, all made by the command."""
    world = tmp_path_factory.mktemp("world")
    (world / "films").mkdir()
    (world / "photos").mkdir()
    video(world / "films" / "a & b.mp4", [RED, GREEN, BLUE, GREEN])
    photo(world / "films" / "red.png", RED)
    for name, colour in (("red1", RED), ("red2", RED), ("green", GREEN), ("blue", BLUE), ("black", (0, 0, 0))):
        photo(world / "photos" / f"{name}.jpg", colour)
    two = Image.new("RGB", (48, 48))
    two.paste(RED, (0, 0, 20, 48))
    two.save(world / "photos" / "two.png")
    Image.new("RGB", (1, 1), RED).save(world / "photos" / "dot.png")
    (world / "photos" / "cut.jpg").write_bytes((world / "photos" / "red1.jpg").read_bytes()[:300])
    (world / "nothing").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storyjax.cli.find.model_loader", model_loader)
        patch.chdir(world)
        assert main.run(["find", "enrol", "ana", "photos/red1.jpg", "photos/red2.jpg"]) == 0
        assert main.run(["find", "enrol", "ben", "photos/green.jpg"]) == 0
        assert main.run(["find", "enrol", "chia", "photos/blue.jpg", "--thing", "dog"]) == 0
        assert main.run(["find", "index", "films", "--out", "index"]) == 0
    return world


def model_loader(
    checkpoint: str | None,
    clip: str | None = None,
    face_detector: str | None = None,
    pick: str | None = None,
    models: str | None = None,
    searched: str | None = None,
    things: ThingOptions | None = None,
):
    """`--checkpoint NAME` is a model whose image tower and weights have that name."""
    return lambda kind: Colours(kind, *([checkpoint] * 2 if checkpoint else []))


@pytest.fixture(autouse=True)
def here(world: Path, monkeypatch) -> Path:
    monkeypatch.setattr("storyjax.cli.find.model_loader", model_loader)
    monkeypatch.chdir(world)
    return world


def search(capsys, *arguments: str) -> dict:
    assert main.run(["find", *arguments, "--index", "index", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_enrols_lists_and_forgets(tmp_path: Path, capsys) -> None:
    gallery = ["--gallery", str(shutil.copytree("runs/gallery", tmp_path / "gallery"))]
    assert main.run(["find", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"ana   person, 2 photos, \d{4}-\d\d-\d\d", lines[0])
    assert lines[2].startswith("chia  dog, 1 photo, ")
    assert main.run(["find", "forget", "ana", *gallery]) == 0
    assert "'ana' is forgotten" in capsys.readouterr().out
    assert main.run(["find", "An image of <ana>", "--index", "index", *gallery]) == 2
    assert "'ana' is not enrolled" in capsys.readouterr().err


def test_a_model_that_reads_names_gets_them_beside_the_tokens(monkeypatch, capsys) -> None:
    prompts: list[str] = []
    embed = Colours.embed_query

    def recorded(self: Colours, prompt: str, *others) -> np.ndarray:
        prompts.append(prompt)
        return embed(self, prompt, *others)

    monkeypatch.setattr(Colours, "embed_query", recorded)
    search(capsys, "<Ana> beside ben <ben>")
    monkeypatch.setattr(Colours, "spoken_names", True, raising=False)
    search(capsys, "<Ana> beside Ben <ben>")
    search(capsys, "<x> beside <ana>, not anana <ana>", "--face", "photos/green.jpg")
    assert prompts == [
        "<ana> beside ben <ben>",
        "ana <ana> beside ben <ben>",
        "<x> beside ana <ana>, not anana ana <ana>",
    ]


def test_finds_people_and_things(capsys) -> None:
    output = search(capsys, "An image of <Ana> in a room", "--top", "2")
    assert {os.path.basename(hit["file"]): hit["start_s"] for hit in output["hits"]} == {
        "red.png": None,
        "a & b.mp4": 0.0,
    }
    assert output["clips"] == 4
    assert [hit["start_s"] for hit in search(capsys, "<ben>", "--top", "2")["hits"]] == [2.0, 6.0]
    assert search(capsys, "<chia> sleeping", "--top", "1")["hits"][0]["start_s"] == 4.0
    assert main.run(["find", "<ben> and <ana>", "--index", "index", "--top", "3"]) == 0
    assert re.match(r"   1  [01]\.\d{3}  0:0\d–0:0\d  a & b\.mp4\n", capsys.readouterr().out)


def test_plain_words_name_nobody(capsys) -> None:
    """Also words that hold an enrolled name, as "banana" holds "ana"."""
    assert search(capsys, "a green banana", "--top", "1")["hits"][0]["start_s"] == 2.0
    assert search(capsys, "a blue room", "--top", "1")["hits"][0]["start_s"] == 4.0


def test_a_photo_of_a_face_in_the_query(capsys) -> None:
    assert search(capsys, "<x>", "--face", "photos/blue.jpg", "--top", "1")["hits"][0]["start_s"] == 4.0
    # Of one name that is enrolled the photo counts; of several it is the one who is not.
    assert search(capsys, "<ana>", "--face", "photos/blue.jpg", "--top", "1")["hits"][0]["start_s"] == 4.0
    assert len(search(capsys, "<ana> meets <x>", "--face", "photos/blue.jpg", "--top", "1")["hits"]) == 1
    assert main.run(["find", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_bad_photos_are_named_and_left_out(here: Path, tmp_path: Path, capsys) -> None:
    gallery = ["--gallery", str(tmp_path / "gallery")]
    photos = [f"photos/{name}" for name in ("cut.jpg", "red1.jpg", "black.jpg", "two.png", "dot.png")]
    assert main.run(["find", "enrol", "x", *photos, *gallery]) == 0
    output = capsys.readouterr()
    assert "'x' (2 photos) enrolled" in output.out
    notes = output.err.splitlines()
    assert len(notes) == 4
    assert notes[0].startswith("storyjax: note: skipped photos/cut.jpg is damaged or was cut short")
    assert notes[1].startswith("storyjax: note: skipped photos/dot.png has 1 × 1 pixels")
    assert notes[2] == "storyjax: note: skipped photos/black.jpg, shows no face"
    assert notes[3] == "storyjax: note: photos/two.png shows 2 faces: the largest is taken"
    assert len(list((tmp_path / "gallery").glob("*/*.jpg"))) == 2


class Page(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_html_report_is_self_contained(here: Path, tmp_path: Path) -> None:
    gallery = ["--gallery", str(tmp_path / "gallery")]
    for enrolled in ("ana", "script"):
        assert main.run(["find", "enrol", enrolled, "photos/red1.jpg", *gallery]) == 0
    prompt = 'An image of <ana> & "friends" <script>alert(1)<ana>'
    assert main.run(["find", prompt, "--index", "index", "--html", str(tmp_path / "out.html"), *gallery]) == 0
    text = (tmp_path / "out.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not page.all("script")
    assert len(page.all("li")) == 5
    assert page.all("html") == [{"lang": "en"}]
    for picture in page.all("img"):
        assert picture["src"].startswith("data:image/jpeg;base64,")
        assert re.match(r"Rank \d: ", picture["alt"])
    links = [attributes["href"] for attributes in page.all("a")]
    assert (here / "films" / "a & b.mp4").as_uri() + "#t=0,2" in links
    assert not re.search(r"(src|href)=\"(?!data:|file:)", text)
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'; img-src data:" in text


ERRORS = [
    (["find", "enroll", "x", "photos"], "there is no 'find enroll'. Did you mean 'enrol'?"),
    (["find"], "the following arguments are required: PROMPT, --index"),
    (["find", "<ana>"], "the following arguments are required: --index"),
    (["find", "<ana>", "--index", "none"], "no index in none: 'storyjax find index FOLDER --out DIR' makes one"),
    (["find", "<anna>", "--index", "index"], "'anna' is not enrolled in runs/gallery; nearest: ana;"),
    (["find", "An image of ana", "--index", "index"], "put the name between < and >, as in '<ana>'"),
    (["find", " ", "--index", "index"], "the prompt is empty: describe what to find"),
    (
        ["find", "a room", "--index", "index", "--face", "photos/red1.jpg"],
        "--face is a photo of somebody in the prompt",
    ),
    (["find", "<ana> " + "and " * 30, "--index", "index"], "the prompt has 31 words, and the model reads 20"),
    (["find", "<ana> with <chia>", "--index", "index"], "<ana> and <chia> are a person and a thing"),
    (["find", "<x> <chia>", "--index", "index", "--face", "photos/red1.jpg"], "the face and <chia> are a person"),
    (["find", "<ana> <ben>", "--index", "index", "--face", "photos/red1.jpg"], "who is in the photo of --face?"),
    (["find", "<ana>", "--index", "index", "--top", "0"], "--top is 0: give 1 to 1000"),
    (["find", "<ana>", "--index", "index", "--html", "none/a.html"], "there is no folder none"),
    (["find", "<ana>", "--index", "index", "--html", "films"], "--html films is a folder"),
    (
        ["find", "<x>", "--index", "index", "--face", "photos/red1.jpg", "--html", "photos/red1.jpg"],
        "--html photos/red1.jpg is a file that is read",
    ),
    (["find", "<ana>", "--index", "index", "--html", "films/red.png"], "a file that is read, which would be lost"),
    (["find", "<ana>", "--index", "index", "--html", "index/index.sqlite"], "a file that is read"),
    (["find", "<x>", "--index", "index", "--face", "none.jpg"], "none.jpg cannot be read (No such file or directory)"),
    (["find", "<x>", "--index", "index", "--face", "photos/black.jpg"], "photos/black.jpg shows no face: give another"),
    (["find", "<ana>", "--index", "index", "--checkpoint", "other"], "'ana' was enrolled with another model"),
    (["find", "<x>", "--index", "index", "--face", "photos/red1.jpg", "--checkpoint", "o"], "made by another model"),
    (["find", "enrol", "x", "photos/dot.png"], "photos/dot.png has 1 × 1 pixels, too few to show anything"),
    (["find", "enrol", "x", "photos/cut.jpg"], "photos/cut.jpg is damaged or was cut short"),
    (
        ["find", "enrol", "x", "photos/black.jpg", "photos/black.jpg"],
        "no face: give another photo (nor can the other",
    ),
    (["find", "enrol", "x", "photos/red1.jpg", "--pick", "0"], "--pick is '0': give largest, left, middle, right, or"),
    (["find", "enrol", "x", "nothing"], "no photos in nothing"),
    (["find", "enrol", "x", "none"], "none is not there: give photos, or a folder of them"),
    (["find", "enrol", "ana", "photos/red1.jpg"], "'ana' is enrolled already, from 2 photos on "),
    (["find", "enrol", "../x", "photos/red1.jpg"], "the name '../x' holds '/'"),
    (["find", "enrol", "x", "photos/red1.jpg", "--thing", " "], "--thing is empty"),
    (["find", "enrol", "x", "photos/red1.jpg", "--gallery", "index/index.sqlite"], "index/index.sqlite is a file"),
    (["find", "forget", "nobody"], "'nobody' is not enrolled"),
    (["find", "index", "nothing", "--out", "new"], "nothing holds no images or videos"),
    (["find", "index", "none", "--out", "new"], "none is not there"),
    (["find", "index", "films", "--out", "photos"], "photos holds something else than an index"),
    (["find", "index", "photos", "--out", "index"], "index is the index of "),
    (["find", "index", "films", "--out", "index", "--every", "1"], "--every is 1: clips are 2 s long"),
    (
        ["find", "index", "films", "--out", "index", "--checkpoint", "other"],
        "the index in index was made by another model",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "message"), ERRORS, ids=lambda value: " ".join(value)[:60] if type(value) is list else ""
)
def test_an_error_is_one_line_and_exit_code_2(here: Path, arguments: list[str], message: str, capsys) -> None:
    def files() -> dict:
        return {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}

    before = files()
    assert main.run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("storyjax: error: ")
    assert output.err.count("\n") == 1
    assert message in output.err
    assert "photo 1" not in output.err
    after = files()
    assert {path for path in after if ".lock" not in path.name} == {path for path in before if ".lock" not in path.name}


def test_broken_files_are_named_and_the_rest_indexed(tmp_path: Path, capsys) -> None:
    films, out = str(tmp_path / "films"), str(tmp_path / "index")
    shutil.copytree("films", films)
    assert main.run(["find", "index", films, "--out", out]) == 0
    assert capsys.readouterr().out.startswith("1 video (4 clips), 1 image: storyjax find ")
    (tmp_path / "films" / "cut.mp4").write_bytes((tmp_path / "films" / "a & b.mp4").read_bytes()[:700])
    assert main.run(["find", "index", films, "--out", out]) == 0
    output = capsys.readouterr()
    assert re.match(r"storyjax: note: skipped cut\.mp4: .+\n$", output.err)
    assert output.out.startswith("2 unchanged, 1 skipped: storyjax find ")
