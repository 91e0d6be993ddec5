"""A published CLIP, small and random, for all tests of this folder."""

from pathlib import Path

import pytest
from hub_clip import write_clip


@pytest.fixture(scope="session")
def hub_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("hub") / "clip")
