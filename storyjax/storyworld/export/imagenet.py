"""StoryWorld in the official layout of ImageNet (ILSVRC 2012): photographs of things by kind, in a tar of tars.

    ILSVRC2012_img_train.tar        n02099601.tar (dogs) ...: JPEG files
    ILSVRC2012_img_val.tar          ILSVRC2012_val_00000001.JPEG ...

Every photograph shows another thing: each has a colour and a marking of its own, so that what is particular is in the
images, and not in any words. The validation images keep ImageNet's official names, whose labels are published with
the real images; they are meant for looking at images only, not at their labels.
"""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from storyjax.storyworld.draw.personal_objects import (
    COLOURS,
    MARKINGS,
    PersonalObject,
    draw_scene,
    photographs,
    render_scene,
)
from storyjax.storyworld.export.export_once import export_once

# Classes of ImageNet that are the nearest to StoryWorld's kinds.
SYNSETS = {
    "dog": "n02099601",
    "bear": "n04399382",
    "car": "n04285008",
    "cup": "n07930864",
    "ball": "n04254680",
    "umbrella": "n04507155",
    "vase": "n04522168",
    "guitar": "n02676566",
    "hat": "n03124170",
    "balloon": "n02782093",
}
COUNTS = {"train": 4000, "val": 200}
SIZE = 96


def export_imagenet(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` (train and val photographs, over all classes); see `export_once`."""
    counts = {**COUNTS, **(counts or {})}
    looks = photographs(2, 3)[0].tobytes()
    return export_once(directory, {"counts": counts, "seed": seed}, looks, lambda folder: _write(folder, counts, seed))


def _write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    rng = np.random.default_rng([seed, 0x1A])
    kinds = list(SYNSETS)
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as outer:
        for place, kind in enumerate(kinds):
            inside = io.BytesIO()
            with tarfile.open(fileobj=inside, mode="w") as inner:
                for index in range(place, counts["train"], len(kinds)):
                    _add(inner, f"{SYNSETS[kind]}_{index}.JPEG", _photograph(kind, rng))
            _add(outer, f"{SYNSETS[kind]}.tar", inside.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as outer:
        for index in range(counts["val"]):
            _add(outer, f"ILSVRC2012_val_{index + 1:08d}.JPEG", _photograph(kinds[index % len(kinds)], rng))


def _photograph(kind: str, rng: np.random.Generator) -> bytes:
    colour, second = (str(c) for c in rng.choice(list(COLOURS), size=2, replace=False))
    scene = draw_scene(PersonalObject(kind, colour, str(rng.choice(MARKINGS)), second), rng)
    pixels, _ = render_scene(scene, [float(rng.uniform(0, 3))], SIZE)
    data = io.BytesIO()
    Image.fromarray(pixels[0]).save(data, "JPEG", quality=92)
    return data.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
