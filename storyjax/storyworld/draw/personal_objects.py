"""Personal objects: my dog Chia, my cup Drum; their photographs, short videos, and true sentences about them.

A personal object has a kind, a colour and a marking of its own and keeps them wherever it is seen. Many are named after
something else in the world (a dog called Pizza), so that a search for the name finds the wrong thing. A scene is one
personal object somewhere, beside something else; photographs are single images of it, videos a few seconds of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from storyjax.storyworld.draw.canvas import Canvas
from storyjax.storyworld.draw.scenery import MARGIN
from storyjax.storyworld.draw.sprites import Box, Sprite, background, clipped, figure, rimmed
from storyjax.storyworld.draw.things import draw_thing
from storyjax.storyworld.render.render import paste
from storyjax.storyworld.story.cast import KINDS, PEOPLE, PLACES, RGB

COLOURS: dict[str, RGB] = {
    "red": (215, 40, 45),
    "orange": (245, 140, 30),
    "yellow": (240, 215, 50),
    "green": (50, 160, 70),
    "blue": (45, 85, 215),
    "purple": (140, 70, 190),
    "pink": (245, 140, 195),
    "white": (245, 245, 240),
    "grey": (140, 142, 148),
    "black": (45, 45, 50),
    "brown": (125, 78, 45),
}
MARKINGS = ("plain", "spotted", "striped", "banded")
# Kinds whose body takes the colour, so that two of a kind can look different.
PERSONAL_KINDS = ("dog", "bear", "car", "cup", "ball", "umbrella", "vase", "guitar", "hat", "balloon")
# Where a band runs, from below; in the middle of most kinds.
BANDS = {"umbrella": (0.18, 0.36)}
# A name is a word for something else, or no word of the world at all.
NAMES = (
    *("pizza", "kite", "drum", "apple", "flower", "cake", "milk", "map", "soup", "tea", "phone", "book", "lamp", "box"),
    *("chia", "rolo", "pip", "bruno", "dot", "fudge", "flash", "rusty", "bee", "plane", "window", "fence"),
)
NEIGHBOURS = ("cake", "pizza", "box", "book", "drum", "kite", "flower", "chair", "lamp", "milk", "phone", "plane")
DOINGS = ("dance", "sleep", "wave", "jump", "sing")
_ING = {"dance": "dancing", "sleep": "sleeping", "wave": "waving", "jump": "jumping", "sing": "singing"}


@dataclass(frozen=True)
class PersonalObject:
    """A particular thing. `colour` and `second` are names of COLOURS; `second` is the marking's."""

    kind: str
    colour: str
    marking: str = "plain"
    second: str = "white"
    name: str = ""

    @property
    def title(self) -> str:
        """What its owner calls it: 'my dog chia'."""
        return f"my {self.kind} {self.name}"

    @property
    def looks(self) -> str:
        """What it looks like: 'red dog', 'spotted red and white dog'."""
        if self.marking == "plain":
            return f"{self.colour} {self.kind}"
        return f"{self.marking} {self.colour} and {self.second} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """A personal object somewhere, with a thing lying beside it or somebody (no one in particular) doing something.

    `seed` draws all that the words do not say: where things stand, the light, the camera, who that somebody is.
    """

    subject: PersonalObject
    place: str
    neighbour: str | None = None
    doing: str | None = None
    seed: int = 0

    @property
    def context(self) -> str:
        """The words after the thing: 'in the park next to a drum'."""
        beside = f" next to {with_article(self.neighbour)}" if self.neighbour else ""
        beside += f" with somebody {_ING[self.doing]}" if self.doing else ""
        return f"in the {self.place}{beside}"


def draw_personal_objects(count: int, seed: int, kinds: Sequence[str] = PERSONAL_KINDS) -> tuple[PersonalObject, ...]:
    """Returns `count` objects, no two of a kind in the same colours, each with a name of its own that is not its kind.

    Kinds come up in turn, so that with more objects than kinds every one has rivals of its own kind.
    """
    rng = np.random.default_rng([seed, 0xB3])
    names = [NAMES[i % len(NAMES)] for i in rng.permutation(len(NAMES))] * (count // len(NAMES) + 1)
    found: list[PersonalObject] = []
    while len(found) < count:
        kind = kinds[len(found) % len(kinds)]
        taken = {b.colour for b in found if b.kind == kind}
        free = [colour for colour in COLOURS if colour not in taken] or list(COLOURS)
        colour, second = str(rng.choice(free)), str(rng.choice(list(COLOURS)))
        marking = str(rng.choice(MARKINGS))
        if second == colour:
            second = "white" if colour != "white" else "black"
        new = PersonalObject(kind, colour, marking, second if marking != "plain" else "white", names[len(found)])
        if all(replace(new, name=b.name) != b for b in found):
            found.append(new)
    return tuple(found)


def draw_scene(subject: PersonalObject, rng: np.random.Generator, places: Sequence[str] = tuple(PLACES)) -> Scene:
    """Returns a random scene of a personal object: half of them with a thing beside it, half with somebody."""
    place, seed = str(rng.choice(list(places))), int(rng.integers(2**31))
    if rng.random() < 0.5:
        return Scene(subject, place, neighbour=str(rng.choice([n for n in NEIGHBOURS if n != subject.kind])), seed=seed)
    return Scene(subject, place, doing=str(rng.choice(DOINGS)), seed=seed)


def render_scene(
    scene: Scene, times: Sequence[float], size: int = 96
) -> tuple[UInt8[np.ndarray, "t y x 3"], list[Box]]:
    """Returns the images of a scene at times (seconds), and the object's box in each.

    Boxes are left, top, right, bottom as fractions of the image. The object sways a little, as if held in a hand; the
    camera pans.
    """
    rng = np.random.default_rng([scene.seed, 0x5C])
    draw = rng.uniform(size=16)
    width = round((0.38 + 0.2 * draw[0]) * size)
    right = draw[1] < 0.5
    x = (0.68 if right else 0.32) + 0.06 * (draw[2] - 0.5)
    floor = 0.05 + 0.12 * draw[3]
    light, mirror = 0.86 + 0.22 * draw[4], draw[5] < 0.5
    sprite = personal_object_sprite(scene.subject, width, bool(mirror))
    other = _other(scene, size, draw)
    margin = round(MARGIN * size)
    ground = background(scene.place, False, size)
    frames, boxes = [], []
    for seconds in times:
        pan = 0.06 * np.sin(0.9 * seconds + 6.28 * draw[6]), 0.03 * np.cos(0.7 * seconds + 6.28 * draw[7])
        left, top = (margin + round(p * size) for p in pan)
        frame = ground[top : top + size, left : left + size].copy()
        if other is not None:
            place, far = other
            corner = round((1 - (x - pan[0] / 3)) * size - place.size[0] / 2), round((1 - far) * size) - place.size[1]
            paste(frame, place, *corner)
        sway = 0.03 * np.sin(2.1 * seconds + 6.28 * draw[8]), 0.02 * np.sin(3.3 * seconds + 6.28 * draw[9])
        x0 = round((x + sway[0] - pan[0] / 3) * size - width / 2)
        y0 = round((1 - floor - sway[1]) * size) - width
        paste(frame, sprite, x0, y0)
        edges = sprite.boxes["thing"]
        corners = (x0 + edges[0], y0 + edges[1], x0 + edges[2], y0 + edges[3])
        boxes.append(clipped([v / size for v in corners], 1.0))
        noise = rng.normal(0, 2.0, frame.shape)
        frames.append(np.clip(frame * light + noise, 0, 255).astype(np.uint8))
    return np.stack(frames), boxes


def _other(scene: Scene, size: int, draw: np.ndarray) -> tuple[Sprite, float] | None:
    """What is beside the personal object, and how far its foot is above the lower edge."""
    if scene.neighbour is not None:
        return _plain_thing(scene.neighbour, round(0.34 * size)), 0.06 + 0.1 * float(draw[10])
    if scene.doing is not None:
        people = list(PEOPLE)
        person = people[int(draw[11] * len(people))]
        width = round(0.46 * size)
        return figure(person, scene.doing, None, (0, 0, 0), int(3 * draw[12]), width, bool(draw[13] < 0.5)), 0.05
    return None


def personal_object_sprite(subject: PersonalObject, width: int, mirror: bool = False) -> Sprite:
    """Returns the object drawn `width` pixels wide, its box under "thing"."""
    canvas = Canvas((width, width), width * 0.94, (width / 2, width / 2))
    with canvas.at(0.0, 0.0, mirror=mirror), canvas.drawing("thing"):
        draw_thing(canvas, subject.kind, COLOURS[subject.colour])
    picture = canvas.picture().copy()
    if subject.marking != "plain":
        marks = _marks(subject, width, mirror)
        # Only on what has the body's own colour: eyes, wheels and handles stay as they are.
        body = np.array(COLOURS[subject.colour], np.float32)
        likeness = np.abs(picture[..., :3].astype(np.float32) - body).sum(-1) < 130
        where = (marks[..., 3] > 127) & (picture[..., 3] > 200) & likeness
        picture[where] = marks[where]
    box = canvas.extent("thing")
    assert box is not None, "a thing was drawn"
    return rimmed(picture, {"thing": clipped(box, width)})


def _plain_thing(kind: str, width: int) -> Sprite:
    canvas = Canvas((width, width), width * 0.94, (width / 2, width / 2))
    draw_thing(canvas, kind, KINDS[kind])
    return rimmed(canvas.picture(), {})


def _marks(subject: PersonalObject, width: int, mirror: bool) -> UInt8[np.ndarray, "y x 4"]:
    marking, colour = subject.marking, COLOURS[subject.second]
    canvas = Canvas((width, width), width * 0.94, (width / 2, width / 2))
    with canvas.at(0.0, 0.0, mirror=mirror):
        if marking == "spotted":
            for i in range(-2, 3):
                for j in range(-2, 3):
                    canvas.disc(0.22 * i + 0.11 * (j % 2), 0.2 * j, 0.07, colour)
        elif marking == "striped":
            for i in range(-3, 4):
                canvas.line(((0.2 * i - 0.2, -0.6), (0.2 * i + 0.2, 0.6)), 0.08, colour)
        else:
            low, high = BANDS.get(subject.kind, (-0.17, 0.06))
            canvas.rect(-0.6, low, 0.6, high, colour)
    return canvas.picture()


# How a photograph of a thing is described; the tower learns from all of them.
_FORMS = (
    "{looks} {context} .",
    "a photo of {looks} {context} .",
    "an image of {looks} .",
    "{kind} {context} .",
    "a photo of {kind} {context} .",
    "a photo of {colour} {context} .",
    "{colour} in the {place} .",
    "a photo of {colour} .",
)


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Returns a true sentence about a scene, without names: 'a photo of a red dog in the park next to a drum .'"""
    form = _FORMS[int(rng.integers(len(_FORMS)))]
    b = scene.subject
    named = {"looks": b.looks, "kind": b.kind, "colour": f"{b.colour} {b.kind}"}
    return form.format(
        **{key: with_article(text) for key, text in named.items()}, place=scene.place, context=scene.context
    )


def with_article(text: str) -> str:
    """Returns the text with its article: 'an orange dog', 'a red dog'."""
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def words() -> tuple[str, ...]:
    """Returns the words that descriptions, titles and queries are made of, beside those of `storyworld.vocabulary`."""
    grammar = "my photo image of a an with somebody next to in the and is beside at"
    return tuple(dict.fromkeys([*grammar.split(), *COLOURS, *MARKINGS, *_ING.values(), *NAMES]))


def photographs(count: int, seed: int, size: int = 96) -> tuple[UInt8[np.ndarray, "n y x 3"], list[Scene]]:
    """Returns photographs of as many different objects, and their scenes, which `describe` puts into words."""
    rng = np.random.default_rng([seed, 0x94])
    pictures = np.empty((count, size, size, 3), np.uint8)
    scenes = []
    for i in range(count):
        kind = str(rng.choice(list(PERSONAL_KINDS)))
        colour, second = (str(c) for c in rng.choice(list(COLOURS), size=2, replace=False))
        scene = draw_scene(PersonalObject(kind, colour, str(rng.choice(MARKINGS)), second), rng)
        pictures[i] = render_scene(scene, [float(rng.uniform(0, 3))], size)[0][0]
        scenes.append(scene)
    return pictures, scenes
