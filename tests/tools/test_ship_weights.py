"""What ships says the same as the configs that it was trained with."""

import importlib.util
import json
from pathlib import Path

import pytest

from storyjax.core.config import from_config, load_config
from storyjax.core.params_io import shipped
from storyjax.core.renames import modernise
from storyjax.tcr.heads.config import CountingData
from storyjax.train.workdir import plain

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("ship_weights", ROOT / "tools" / "ship_weights.py")
ship_weights = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ship_weights)


def architecture(config: str) -> dict:
    made = ship_weights.architecture(plain(load_config(f"{ROOT / 'configs'}/{config}")))
    return json.loads(json.dumps(made))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("storyworld_clip.py", "storyworld_clip"),
        ("storyworld_clip_generic.py", "storyworld_clip_generic"),
        ("storyworld_faces.py", "storyworld_faces"),
        ("storyworld_t5.py", "storyworld_t5"),
        ("storyworld_t5.py:practised", "storyworld_t5_practised"),
    ],
)
def test_the_shipped_architecture_is_that_of_the_config(config: str, name: str) -> None:
    assert architecture(config) == json.loads((shipped(name) / "config.json").read_text())


@pytest.mark.parametrize("name", ["tcr_nextqa", "tcr_countix", "clip_pad_cia", "mqt_mot17"])
def test_a_shipped_model_has_what_predictors_read(name: str) -> None:
    found = architecture(f"{name}.py:embedded")
    assert found["model"]
    assert modernise(found) == found
    expected = {"tcr_nextqa": {"frames", "condition_length"}, "mqt_mot17": {"size"}}
    assert expected.get(name, set()) <= set(found["data"])
    if name == "tcr_countix":
        assert from_config(CountingData, found["data"]).root == {"countix": "", "kinetics400": ""}
