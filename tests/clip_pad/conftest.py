"""A small world in the official layouts, written once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from storyjax.storyworld.export.celebrities import export_cia, export_cip, export_vggface2


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    export_vggface2(root / "vggface2", photos=4, test_people=2, people=6)
    export_cip(root / "cip", pictures=24, distractors=4, faces=2)
    export_cia(root / "cia", train=18, val=1, test=28, faces=2)
    return root
