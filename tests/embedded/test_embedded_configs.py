"""Configs that version 0.1 wrote for the embedded networks go on to load."""

import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config, load_config, override
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import modernise
from storyjax.embedded.clip import ClipData
from storyjax.embedded.clip_generic import GenericClipData
from storyjax.embedded.face_encoder import FaceData
from storyjax.embedded.t5 import T5Data

OLD = {
    "towers.clip": {"world": "a", "train": 3, "val": 2, "parts": 0.5, "keep_patches": 0.1},
    "towers.generic_clip": {"folder": "a", "stories": 3},
    "towers.faces": {"manual_dir": "a", "data_dir": "b", "storyworld": {"photos": 4}, "people": 7},
    "towers.t5": {
        "begin": "a",
        "practice": {"ahead": {"shares": {"actions": 1.0}, "blind": 0.1, "copying": 0.5, "per_story": 1}},
    },
}
TODAY = {
    "embedded.clip": ClipData("a", 3, 2, part_weight=0.5, patch_keep_prob=0.1),
    "embedded.clip_generic": GenericClipData("a", 3),
    "embedded.face_encoder": FaceData("a", "b", {"photos": 4}, 7),
}


@pytest.mark.parametrize("experiment", OLD)
def test_an_old_config_is_todays(experiment: str) -> None:
    config = modernise({"experiment": experiment, "data": OLD[experiment]})
    cls = {**{name: type(data) for name, data in TODAY.items()}, "embedded.t5": T5Data}[config["experiment"]]
    data = from_config(cls, config["data"])
    if isinstance(data, T5Data):
        task = data.auxiliary_tasks["ahead"]
        assert data.copy_checkpoint == "a"
        assert (task.mix, task.no_note_prob, task.copy_weight, task.per_story) == ({"actions": 1.0}, 0.1, 0.5, 1)
    else:
        assert data == TODAY[config["experiment"]]


def test_an_old_key_on_the_command_line_is_answered_with_its_new_name() -> None:
    config = ConfigDict(load_config("configs/storyworld_faces.py"))
    with pytest.raises(StoryjaxError, match=r"config\.data\.manual_dir is called config\.data\.root now"):
        override(config, "data.manual_dir", "x", ("data",))
