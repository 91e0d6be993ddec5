"""The people, places, things and actions of StoryWorld.

Everything that a later reader of the world needs to tell apart has its own look or sound here: a person has a face
(skin, hair) and clothes for the eye and a voice for the ear; a thing has a kind, and may be one
of its own with a name.
"""

from dataclasses import dataclass

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Voice:
    """How a person sounds: the fundamental in Hz, words per second, and a scale of the vocal tract (1 = average)."""

    pitch_hz: int
    rate: float
    formant: float


@dataclass(frozen=True)
class Person:
    """Somebody with a face and a voice. `known` people may appear in training stories, the others are kept unseen."""

    name: str
    pronoun: str
    skin: RGB
    hair: RGB
    hair_style: str  # "short" | "long" | "bun" | "curly" | "cap" | "bald"
    shirt: RGB
    trousers: RGB
    voice: Voice
    known: bool = True


@dataclass(frozen=True)
class Place:
    """Where a scene plays: its two large colours, and what stands in the background."""

    name: str
    sky: RGB
    ground: RGB
    landmark: str


@dataclass(frozen=True)
class Thing:
    """An object of a general kind; with a `name` and an `owner` it is a particular one ('my dog Chia')."""

    kind: str
    colour: RGB
    name: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Action:
    """A verb with its forms, what it may be done to, and its part in a story: neutral, mishap, reaction or travel."""

    base: str
    past: str
    gerund: str
    role: str
    things: tuple[str, ...] = ()


def _person(name, pronoun, skin, hair, style, shirt, trousers, voice, known=True) -> Person:
    return Person(name, pronoun, skin, hair, style, shirt, trousers, Voice(*voice), known)


_LIGHT, _TAN, _BROWN, _DARK = (255, 219, 190), (224, 172, 125), (160, 105, 70), (96, 62, 44)
_BLACK, _BLOND, _RED, _GREY, _WHITE = (30, 26, 28), (240, 205, 90), (190, 75, 30), (150, 150, 155), (245, 245, 245)

PEOPLE: dict[str, Person] = {
    p.name: p
    for p in (
        _person("ana", "she", _LIGHT, _BLACK, "long", (220, 40, 50), (50, 50, 90), (210, 2.6, 1.12)),
        _person("ben", "he", _DARK, _BLACK, "short", (245, 215, 40), (60, 60, 60), (110, 2.3, 0.90)),
        _person("mia", "she", _TAN, _RED, "bun", (40, 160, 70), (90, 60, 40), (235, 2.9, 1.18)),
        _person("leo", "he", _LIGHT, _BLOND, "curly", (40, 90, 220), (120, 100, 70), (130, 2.5, 0.96)),
        _person("zoe", "she", _BROWN, _BLACK, "curly", (240, 130, 190), (240, 240, 240), (190, 2.4, 1.08)),
        _person("tom", "he", _TAN, _GREY, "cap", (250, 140, 30), (40, 80, 60), (95, 2.0, 0.86)),
        _person("eva", "she", _DARK, _WHITE, "bun", (140, 70, 190), (30, 30, 40), (175, 2.1, 1.04)),
        _person("max", "he", _LIGHT, _LIGHT, "bald", (60, 200, 210), (130, 40, 50), (120, 2.7, 0.93)),
        _person("ivy", "she", _TAN, _BLOND, "long", (245, 245, 235), (150, 50, 110), (220, 2.5, 1.15), known=False),
        _person("sam", "he", _BROWN, _BLACK, "cap", (110, 110, 115), (200, 180, 60), (105, 2.4, 0.88), known=False),
        _person("lily", "she", _LIGHT, _RED, "curly", (25, 60, 60), (210, 120, 60), (245, 2.8, 1.20), known=False),
        _person("noah", "he", _DARK, _GREY, "short", (150, 220, 90), (60, 40, 110), (125, 2.2, 0.94), known=False),
    )
}

PLACES: dict[str, Place] = {
    p.name: p
    for p in (
        Place("kitchen", (250, 236, 200), (196, 160, 120), "stove"),
        Place("park", (170, 215, 250), (110, 190, 90), "tree"),
        Place("library", (150, 110, 80), (100, 70, 55), "shelves"),
        Place("garden", (205, 240, 215), (70, 150, 70), "flowers"),
        Place("forest", (60, 110, 80), (50, 75, 45), "pines"),
        Place("desert", (255, 205, 130), (235, 180, 95), "cactus"),
        Place("garage", (165, 168, 175), (110, 112, 118), "door"),
        Place("harbour", (150, 190, 235), (60, 110, 170), "mast"),
    )
}

# Colours of the general kinds; a particular thing may differ.
KINDS: dict[str, RGB] = {
    "cake": (245, 190, 210),
    "apple": (215, 35, 40),
    "pizza": (240, 180, 60),
    "ball": (250, 250, 250),
    "box": (175, 125, 70),
    "book": (50, 80, 190),
    "map": (235, 225, 165),
    "guitar": (185, 95, 35),
    "drum": (210, 45, 90),
    "kite": (235, 60, 200),
    "plane": (225, 230, 235),
    "umbrella": (100, 50, 150),
    "flower": (255, 90, 130),
    "chair": (130, 85, 50),
    "fence": (245, 245, 220),
    "milk": (250, 250, 255),
    "tea": (150, 90, 45),
    "hat": (40, 40, 45),
    "dog": (200, 150, 95),
    "bear": (120, 75, 45),
    "car": (225, 50, 45),
    "cup": (120, 200, 225),
    "vase": (90, 140, 200),
    "phone": (25, 25, 30),
    "soup": (230, 110, 40),
    "window": (185, 225, 245),
    "lamp": (255, 235, 110),
    "balloon": (240, 50, 60),
}

VEHICLES: dict[str, RGB] = {
    "bike": (30, 30, 35),
    "car": (225, 50, 45),
    "boat": (245, 245, 245),
    "bus": (245, 190, 30),
    "horse": (125, 75, 40),
    "train": (40, 120, 70),
}

ACTIONS: dict[str, Action] = {
    a.base: a
    for a in (
        Action("dance", "danced", "dancing", "neutral"),
        Action("jump", "jumped", "jumping", "neutral"),
        Action("sleep", "slept", "sleeping", "neutral"),
        Action("wave", "waved", "waving", "neutral"),
        Action("sing", "sang", "singing", "neutral"),
        Action("eat", "ate", "eating", "neutral", ("cake", "apple", "pizza")),
        Action("kick", "kicked", "kicking", "neutral", ("ball", "box")),
        Action("read", "read", "reading", "neutral", ("book", "map")),
        Action("play", "played", "playing", "neutral", ("guitar", "drum")),
        Action("fly", "flew", "flying", "neutral", ("kite", "plane")),
        Action("carry", "carried", "carrying", "neutral", ("box", "umbrella", "flower")),
        Action("paint", "painted", "painting", "neutral", ("chair", "fence")),
        Action("drink", "drank", "drinking", "neutral", ("milk", "tea")),
        Action("throw", "threw", "throwing", "neutral", ("ball", "hat")),
        Action("wash", "washed", "washing", "neutral", ("dog", "cup")),
        Action("hug", "hugged", "hugging", "neutral", ("dog", "bear")),
        Action("drop", "dropped", "dropping", "mishap", ("cup", "vase", "phone")),
        Action("spill", "spilled", "spilling", "mishap", ("milk", "soup")),
        Action("break", "broke", "breaking", "mishap", ("window", "chair", "lamp")),
        Action("pop", "popped", "popping", "mishap", ("balloon",)),
        Action("cry", "cried", "crying", "reaction"),
        Action("laugh", "laughed", "laughing", "reaction"),
        Action("hide", "hid", "hiding", "reaction"),
        Action("shout", "shouted", "shouting", "reaction"),
        Action("faint", "fainted", "fainting", "reaction"),
        Action("go", "went", "going", "travel", tuple(VEHICLES)),
    )
}


def phrases(role: str) -> list[tuple[str, str | None]]:
    """Returns every (action, thing) pair of a role; the thing is None for a verb that needs none."""
    return [(a.base, thing) for a in ACTIONS.values() if a.role == role for thing in (a.things or (None,))]
