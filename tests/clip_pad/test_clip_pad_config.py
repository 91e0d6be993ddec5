"""Configs of version 0.1 load with today's names, and what `config.data` may hold."""

import pytest

from storyjax.clip_pad.config import DataConfig
from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import modernise, new_name


def test_a_config_of_version_0_1_loads() -> None:
    old = {
        "experiment": "clip_pad",
        "data": {
            "people": "vggface",
            "tasks": ["photos"],
            "measure": ["cip", "faces"],
            "detector": None,
            "vggface_dir": "w/vggface",
            "vggface2_dir": "w/vggface2",
            "cip_dir": "w/cip",
            "cia_dir": "w/cia",
            "season_dir": "w/season",
            "data_dir": "w/prepared",
            "storyworld": {"vggface": {"photos": 24}, "cip": {"pictures": 400, "distractors": 80}},
            "val_photos": 2,
            "max_broken_share": 0.1,
        },
    }
    new = modernise(old)
    assert modernise(new) == new
    data = from_config(DataConfig, new["data"], "config.data")
    assert (data.dataset, data.cache_dir, data.max_broken_fraction) == ("vggface", "w/prepared", 0.1)
    assert (data.root.vggface, data.root.cip, data.root.season) == ("w/vggface", "w/cip", "w/season")
    assert data.eval_splits == ("cip:test", "val")
    assert data.evaluations() == ["cip", "faces"]
    assert data.synthetic == {"vggface": {"photos": 24}, "cip": {"pictures": 400, "distractors": 80}}
    assert new_name("data.cia_dir", "clip_pad") == "data.root.cia"
    assert new_name("data.storyworld.cia", "clip_pad") == "data.synthetic.cia"


def test_the_evaluations_of_splits() -> None:
    data = DataConfig(dataset="vggface2", eval_splits=("vggface2:val", "cia:test", "season:episodes"))
    assert data.evaluations() == ["faces", "cia", "season"]
    assert DataConfig().evaluations() == ["faces"]
    with pytest.raises(StoryjaxError, match=r"config\.data\.eval_splits: unknown 'vggface2:cip'"):
        DataConfig(eval_splits=("cip",)).evaluations()
    with pytest.raises(StoryjaxError, match=r"config\.data\.synthetic: unknown 'vggfaces'\. Did you mean 'vggface'"):
        DataConfig(synthetic={"vggfaces": {}})
