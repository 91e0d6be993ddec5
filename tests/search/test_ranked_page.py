"""Pages of single results: which are shown, how they are marked, and what the page holds."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.search.ranked_page import RankedQuery, Shown, choose_shown, spread, write_ranked_page


def test_the_best_are_shown_and_right_ones_that_were_missed() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.5, -np.inf, 0.3])
    right = np.array([True, False, False, True, False, True])
    assert choose_shown(scores, right, 3) == [(1, 1), (2, 2), (3, 3)]
    assert choose_shown(scores, right, 2, later=2) == [(1, 1), (2, 2), (3, 3), (5, 4)]
    assert choose_shown(scores, right, 9, later=2)[-1] == (4, 6)


def test_queries_are_spread_evenly() -> None:
    assert spread(11, 3) == [0, 5, 10]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 5) == []


def test_a_page_marks_right_and_wrong_and_needs_no_other_file(tmp_path: Path) -> None:
    blue = np.zeros((400, 200, 3), np.uint8)
    blue[..., 2] = 255
    results = (Shown(1, "wrong", blue), Shown(2, "right", blue), Shown(7, "elsewhere", blue))
    write_ranked_page(tmp_path / "page.html", "fig & more", [RankedQuery("<chia> in the park", results)])
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r'<li class="(\w+)">', page) == ["wrong", "right", "elsewhere"]
    assert re.findall(r"<span>(\d+) · ([^<]+)</span>", page)[2] == ("7", "right, but in another setting")
    assert "<h2>&lt;chia&gt; in the park</h2>" in page
    assert "<title>fig &amp; more</title>" in page
    image = Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)\"", page)[0])))
    assert image.size == (80, 160)
    assert np.asarray(image)[..., 2].mean() > 200
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(StoryjaxError, match="cannot write"):
        write_ranked_page(tmp_path / "none" / "page.html", "", [])
