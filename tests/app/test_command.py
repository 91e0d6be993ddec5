"""`storyjax app` on the command line: what it refuses before anything listens."""

from pathlib import Path

import pytest

from storyjax.app.serve import gallery_of
from storyjax.cli.main import run
from storyjax.story.store import Story
from tests.story.small_story import make_story


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no story in"),
        (["--host", "0.0.0.0"], "add --token new"),
        (["--port", "70000"], "is no port"),
        (["--token", "short"], "give 12"),
        (["--hosts", "x"], "Did you mean '--host'"),
    ],
)
def test_what_a_person_can_get_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], message: str
) -> None:
    assert run(["app", str(tmp_path / "nothing"), "--no-open", *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("storyjax: error: ")
    assert message in error


def test_corrections_go_into_the_storys_gallery(tmp_path: Path) -> None:
    make_story(tmp_path / "story").close()
    assert gallery_of(tmp_path / "story", None) == Path("runs/gallery")
    with Story.open(tmp_path / "story") as story:
        story.set_meta("gallery", "../people")
    assert gallery_of(tmp_path / "story", None) == tmp_path / "people"
    assert gallery_of(tmp_path / "story", tmp_path / "x") == tmp_path / "x"


def test_a_page_is_exported_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_story(tmp_path / "story").close()
    assert run(["story", "export", str(tmp_path / "story"), "--to", "html", "--out", str(tmp_path / "page")]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "page" / "index.html")
    assert "garden.mp4 is not there: its page has everything but the film" in captured.err
