"""Configs of version 0.1 go on to load, and an old key on the command line is answered with its new name."""

import pytest
from ml_collections import ConfigDict

from storyjax.core.config import override
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import RENAMES, modernise, new_name


def test_the_experiment_and_the_keys_get_todays_names() -> None:
    old = {
        "experiment": "tcr.finetune",
        "optim": {"slow": "a/.*", "slow_scale": 0.3, "b1": 0.9},
        "data": {"max_broken_share": 0.1, "tasks": {"qa": {"max_broken_share": 0.2}}},
    }
    new = modernise(old)
    assert new["experiment"] == "tcr"
    assert new["optim"] == {"b1": 0.9, "lr_multipliers": [["a/.*", 0.3]]}
    assert new["data"] == {"max_broken_fraction": 0.1, "tasks": {"qa": {"max_broken_fraction": 0.2}}}
    assert old["data"]["max_broken_share"] == 0.1  # the original is left as it is
    assert modernise(new) == new


def test_no_new_name_is_an_old_one() -> None:
    """Otherwise a config would change each time that it is read."""
    for rename in RENAMES:
        assert new_name(rename.new.replace("*", "x"), "tcr") is None, rename


def test_an_old_key_on_the_command_line_is_answered_with_its_new_name() -> None:
    config = ConfigDict({"experiment": "mqt", "optim": {"b1": 0.9}, "data": {}})
    with pytest.raises(StoryjaxError, match=r"config\.optim\.slow is called config\.optim\.lr_multipliers now"):
        override(config, "optim.slow", "x")
    with pytest.raises(StoryjaxError, match=r"called config\.data\.max_broken_fraction now"):
        override(config, "data.max_broken_share", "0.1", ("data",))
