"""Further people of StoryWorld, beside the cast of its stories: enough faces to learn to tell people apart.

Each is drawn from the place of their name in the list, so a name has the same face for ever. Every fifth is a
look-alike of somebody before them, who differs in one thing only. Two in seven are kept unseen (`known` is False).
"""

from dataclasses import replace

import numpy as np

from storyjax.storyworld.story.cast import PEOPLE, RGB, Person, Voice

_WOMEN = (
    "ada amy anna beth cara clara dana diana dora ella elsa emma erin eve faye fiona flora gina greta hana helen hilda"
    " ida ines isla jane jenny jill joan judy julia kate kim laura lena linda lisa lola lucy luna maria martha megan"
    " mila mona nadia nell nina nora olga pam paula petra rita rosa ruth sally sara sofia stella susan tara tess tina"
    " una vera wanda willa yara"
)
_MEN = (
    "abe adam alan alex alvin andy arlo axel bart basil bert bob brad bruce carl cecil chad clark cole colin dan david"
    " dirk doug ed eli eric evan felix finn fred gary george glen gus hank harry hugo ian igor ivan jack jake james"
    " jeff jim joe john josh karl keith ken kurt lars luke marco martin matt mike nick nils omar oscar otto owen pablo"
    " paul pete phil"
)

SKINS: tuple[RGB, ...] = ((255, 219, 190), (224, 172, 125), (160, 105, 70), (96, 62, 44))
HAIR: dict[str, RGB] = {
    "black": (30, 26, 28),
    "blond": (240, 205, 90),
    "red": (190, 75, 30),
    "grey": (150, 150, 155),
    "white": (245, 245, 245),
    "brown": (105, 65, 40),
}
STYLES = ("short", "long", "bun", "curly", "cap", "bald")
SHIRTS: dict[str, RGB] = {
    "red": (220, 40, 50),
    "orange": (250, 140, 30),
    "yellow": (245, 215, 40),
    "green": (40, 160, 70),
    "blue": (40, 90, 220),
    "purple": (140, 70, 190),
    "pink": (240, 130, 190),
    "turquoise": (60, 200, 210),
    "white": (245, 245, 240),
    "grey": (115, 115, 120),
    "black": (40, 40, 45),
    "brown": (125, 78, 45),
}


def nearest_colour(colour: RGB, palette: dict[str, RGB]) -> str:
    """Returns the name in the palette whose colour is nearest."""
    return min(palette, key=lambda name: sum((a - b) ** 2 for a, b in zip(colour, palette[name], strict=True)))


def _draw(index: int, name: str, pronoun: str, before: list[Person]) -> Person:
    rng = np.random.default_rng([index, 0xFA])

    def near(colour: RGB, spread: int) -> RGB:
        red, green, blue = np.clip(np.array(colour) + rng.integers(-spread, spread + 1, size=3), 0, 255).tolist()
        return red, green, blue

    styles = [style for style in STYLES if not (pronoun == "she" and style == "bald")]
    hair, shirt = rng.choice(list(HAIR)), rng.choice(list(SHIRTS))
    skin = SKINS[int(rng.integers(len(SKINS)))]
    red, green, blue = rng.integers(30, 230, size=3).tolist()
    woman = pronoun == "she"
    voice = Voice(
        int(rng.integers(170, 250) if woman else rng.integers(90, 140)),
        float(np.round(rng.uniform(2.0, 2.9), 1)),
        float(np.round(rng.uniform(1.02, 1.2) if woman else rng.uniform(0.85, 1.0), 2)),
    )
    person = Person(
        name,
        pronoun,
        near(skin, 8),
        near(HAIR[str(hair)], 8),
        str(rng.choice(styles)),
        near(SHIRTS[str(shirt)], 10),
        (red, green, blue),
        voice,
        known=index % 7 not in (1, 4),
    )
    if index % 5 != 4 or len(before) < 2:
        return person
    twin = before[-2]  # women and men take turns
    change = ("shirt", "hair", "hair_style")[int(rng.integers(3))]
    alike = replace(twin, name=name, voice=voice, known=person.known, **{change: getattr(person, change)})
    if _looks(alike) != _looks(twin):
        return alike
    # What was to differ happened to be the same, or is not to be seen: another shirt then.
    other = [
        colour for colour in SHIRTS.values() if nearest_colour(colour, SHIRTS) != nearest_colour(twin.shirt, SHIRTS)
    ]
    return replace(alike, shirt=other[int(rng.integers(len(other)))])


def _looks(person: Person) -> tuple[object, ...]:
    """All of a person that an image shows."""
    hair = None if person.hair_style == "bald" else person.hair
    return (person.skin, hair, person.hair_style, person.shirt, person.trousers)


def _further() -> dict[str, Person]:
    people: list[Person] = []
    for index, pair in enumerate(zip(_WOMEN.split(), _MEN.split(), strict=True)):
        for name, pronoun in zip(pair, ("she", "he"), strict=True):
            people.append(_draw(2 * index + (pronoun == "he"), name, pronoun, people))
    return {person.name: person for person in people}


FURTHER_PEOPLE: dict[str, Person] = _further()
EVERYONE: dict[str, Person] = {**PEOPLE, **FURTHER_PEOPLE}
