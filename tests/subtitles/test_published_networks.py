"""The paper's config takes published networks, and says in one line which of them are missing."""

import json
from pathlib import Path

import pytest

from storyjax.core.config import from_config, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.experiment import build
from storyjax.subtitles.predict import Subtitler
from storyjax.subtitles.published_networks import ALL, SOUND, resolve

CONFIG = Path(__file__).parents[2] / "configs" / "subtitles_tv.py"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The paper's config, with an empty models folder."""
    monkeypatch.setenv("STORYJAX_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return load_config(f"{CONFIG}:paper")


def test_without_published_networks_the_paper_stops_in_one_line(paper) -> None:
    with pytest.raises(StoryjaxError) as error:
        build(paper).evaluators[0].run({}, lambda: None)
    said = str(error.value)
    assert "\n" not in said
    for word in ("speech, voices, laughter, sync", "storyjax models get speech voices", "pip install whisperx",
                 "configs/clip_pad_vggface2.py"):  # fmt: skip
        assert word in said, word
    with pytest.raises(StoryjaxError, match=r"voices'.*laughter|voices, laughter"):
        Subtitler(from_config(SubtitleConfig, paper.model)).subtitle("a.mp4")


def test_what_the_models_folder_holds_is_taken(paper, tmp_path: Path) -> None:
    config = from_config(SubtitleConfig, paper.model)
    for role in ("speech", "voices", "sync", "laughter"):
        (tmp_path / "models" / role).mkdir(parents=True)
        for name in ("model.safetensors", "model.bin", "config.json"):
            (tmp_path / "models" / role / name).write_text(json.dumps({}))
    with pytest.raises(StoryjaxError, match=r"^WhisperX is not installed.*; config\.model\.clip_pad\.weights: runs/"):
        resolve(config)
    with pytest.raises(StoryjaxError, match=r"^WhisperX is not installed[^;]*$"):
        resolve(config, needed=SOUND)
    found = resolve(config, needed=("speaker_encoder", "laughter", "lwtnet"))
    assert found.speaker_encoder.weights == str(tmp_path / "models" / "voices")
    assert found.lwtnet.weights == str(tmp_path / "models" / "sync")
    assert resolve(SubtitleConfig(), needed=ALL) == SubtitleConfig()
    with pytest.raises(StoryjaxError, match=r"config\.model\.lwtnet\.weights: none holds no weights"):
        resolve(from_config(SubtitleConfig, {"lwtnet": {"weights": "none"}}))
