"""Configs are strict: what does not fit is named, with the nearest key."""

import dataclasses
from typing import Literal

import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config, load_config, override
from storyjax.core.errors import StoryjaxError


@dataclasses.dataclass(frozen=True)
class Tower:
    width: int
    rate: float = 0.5
    kind: Literal["clip", "t5"] = "clip"


@dataclasses.dataclass(frozen=True)
class Model:
    tower: Tower
    layers: tuple[int, ...] = ()
    box: tuple[float, float] | None = None
    name: str | None = None
    deep: bool = False


def test_a_config_becomes_dataclasses_all_the_way_down():
    config = ConfigDict({"tower": {"width": 4, "rate": 1}, "layers": [1, 2], "box": (0, 1.5)})
    model = from_config(Model, config)
    assert model == Model(Tower(4, 1.0), (1, 2), (0.0, 1.5))
    assert isinstance(model.tower.rate, float)
    assert from_config(Tower, {"width": 2, "kind": "t5"}).kind == "t5"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tower": {"widht": 4}}, "config.model.tower has no key 'widht'. Did you mean 'width'?"),
        ({"twoer": {}}, "config.model has no key 'twoer'. Did you mean 'tower'?"),
        ({"tower": {}}, "config.model.tower.width is missing"),
        ({"tower": {"width": 4.5}}, "config.model.tower.width must be int, not 4.5"),
        ({"tower": {"width": True}}, "config.model.tower.width must be int, not True"),
        ({"tower": {"width": "4"}}, "config.model.tower.width must be int, not '4'"),
        ({"tower": {"width": 4, "kind": "clp"}}, "config.model.tower.kind is 'clp'. Did you mean 'clip'?"),
        ({"tower": 3}, "config.model.tower must be a group of keys, not 3"),
        ({"tower": {"width": 4}, "deep": 1}, "config.model.deep must be bool, not 1"),
        ({"tower": {"width": 4}, "layers": (1, "a")}, "config.model.layers[1] must be int, not 'a'"),
        ({"tower": {"width": 4}, "box": (1,)}, "config.model.box must have 2 entries, not 1"),
    ],
)
def test_what_does_not_fit_is_named(config, message):
    with pytest.raises(StoryjaxError) as caught:
        from_config(Model, ConfigDict(config), "config.model")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_have_the_type_of_what_they_replace():
    config = ConfigDict(
        {"a": {"n": 1, "x": 0.5, "s": "s", "flag": False, "t": (1, 2), "none": None, "count": None, "on": None}}
    )
    for key, text in {
        "n": "7",
        "x": "3",
        "s": "12",
        "flag": "true",
        "t": "(3, 4, 5)",
        "none": "runs/a",
        "count": "8",
        "on": "true",
    }.items():
        override(config, f"a.{key}", text)
    expected = {"n": 7, "x": 3.0, "s": "12", "flag": True, "t": (3, 4, 5), "none": "runs/a", "count": 8, "on": True}
    assert config.a.to_dict() == expected
    assert isinstance(config.a.x, float)
    override(config, "a.s", "None")
    assert config.a.s is None


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("trian.steps", "3", "config has no key 'trian'. Did you mean 'train'?"),
        ("train.stpes", "3", "config.train has no key 'stpes'. Did you mean 'steps'?"),
        ("train.steps.more", "3", "config.train.steps has no key 'more'"),
        ("train", "3", "config.train is a group of keys: set one of"),
        ("stps", "3", "config has no key 'stps'. Did you mean 'train.steps'?"),
        ("train.steps", "3.5", "config.train.steps must be int, not 3.5"),
        ("train.steps", "many", "config.train.steps must be int, not 'many'"),
        ("train.fast", "yes", "config.train.fast must be true or false, not 'yes'"),
    ],
)
def test_an_override_that_does_not_fit_is_named(key, text, message):
    with pytest.raises(StoryjaxError) as caught:
        override(ConfigDict({"train": {"steps": 1, "fast": True}}), key, text)
    assert message in str(caught.value)


def test_an_open_section_takes_keys_that_it_left_out():
    config = ConfigDict({"model": {"width": 4}}).lock()
    override(config, "model.tower.tower", "2", open_sections=("model",))
    override(config, "model.width", "8", open_sections=("model",))
    assert config.to_dict() == {"model": {"width": 8, "tower": {"tower": 2}}}
    for key in ("modle.width", "model.width.more"):
        with pytest.raises(StoryjaxError):
            override(config, key, "2", open_sections=("model",))


def test_a_config_file_gives_its_variants(tmp_path):
    path = tmp_path / "toy_one.py"
    path.write_text("""
from ml_collections import ConfigDict
VARIANTS = ("paper", "embedded")
def get_config(variant="paper"):
    return ConfigDict({"variant": variant})
""")
    assert load_config(str(path)).variant == "paper"
    assert load_config(f"{path}:embedded").variant == "embedded"
    for spec, message in {
        f"{path}:embeded": "unknown 'embeded'. Did you mean 'embedded'?",
        str(tmp_path / "toy_on.py"): f"there is no file {tmp_path / 'toy_on.py'}. Did you mean '{path}'?",
    }.items():
        with pytest.raises(StoryjaxError) as caught:
            load_config(spec)
        assert message in str(caught.value)
