"""Tracks are matched over their whole length, and nobody is named who is not similar enough."""

import numpy as np
import pytest

from storyjax.gallery.matching import match

ANA, BEN, NOISE = np.eye(3, 4, dtype=np.float32)
KNOWN = {"ana": ANA[None], "ben": np.stack([BEN, NOISE])}


def test_the_whole_track_decides() -> None:
    track = np.stack([3 * ANA, ANA, ANA, BEN])  # a frame that looks like somebody else
    id, confidence, runner_up = match(track, KNOWN, 0.5)
    assert (id, runner_up) == ("ana", "ben")
    assert confidence > 0.98
    hesitant = match(np.stack([ANA, ANA, BEN, BEN, ANA + 0.1 * BEN]), KNOWN, 0.5)
    assert hesitant.id == "ana"
    assert 0.5 < hesitant.confidence < confidence


def test_nobody_is_known_or_similar() -> None:
    stranger = np.asarray([[0, 0, 0, 1], [0.2, 0, 0, 1]], np.float32)
    assert match(stranger, KNOWN, 0.5)[::2] == (None, "ana")
    assert match(stranger, KNOWN, 0.5).confidence > 0.99
    assert match(stranger, {}, 0.5) == (None, 1.0, None)
    assert match(stranger[:0], KNOWN, 0.5) == (None, 1.0, None)
    assert match(ANA[None], {"ana": ANA[None]}, 0.5) == ("ana", pytest.approx(1, abs=1e-4), None)
