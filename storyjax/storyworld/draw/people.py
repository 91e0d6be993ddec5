"""What the people of StoryWorld look like, in whatever pose: large heads, so that faces differ in a small image.

A standing person is about 1.15 units tall; the feet are at the origin.
"""

from dataclasses import dataclass

from storyjax.storyworld.draw.canvas import Canvas, Point
from storyjax.storyworld.draw.things import INK, WHITE, shade
from storyjax.storyworld.story.cast import Person

HEAD = 0.93  # height of the head's centre above the ground
HEAD_RADIUS = 0.21
_HIP, _SHOULDER = 0.36, 0.68


@dataclass(frozen=True)
class Pose:
    """Where the limbs of a person are. Points are relative to the feet of a standing person, x to the facing side.

    `back` and `front` are the hands, `feet` the feet (back, front); `elbows` and `knees` bend the limbs where given.
    """

    back: Point = (-0.28, 0.4)
    front: Point = (0.28, 0.4)
    feet: tuple[Point, Point] = ((-0.1, 0.04), (0.1, 0.04))
    elbows: tuple[Point | None, Point | None] = (None, None)
    knees: tuple[Point | None, Point | None] = (None, None)
    mouth: str = "smile"  # "smile" | "open" | "sad" | "flat"
    eyes: str = "open"  # "open" | "closed" | "crossed" | "glasses" | "wide"


def draw_body(canvas: Canvas, person: Person, pose: Pose) -> None:
    """Draws legs, trunk and head, without the arms, so that a thing may come between."""
    if person.hair_style == "long":  # falls behind the trunk
        with canvas.at(0.0, HEAD):
            canvas.poly(((-0.25, 0.05), (0.25, 0.05), (0.29, -0.38), (-0.29, -0.38)), person.hair)
    for side, foot, knee in zip((-1, 1), pose.feet, pose.knees, strict=True):
        hip = (side * 0.08, _HIP)
        canvas.line((hip, foot) if knee is None else (hip, knee, foot), 0.15, person.trousers)
        canvas.oval(foot[0] + 0.03, foot[1] - 0.01, 0.1, 0.05, INK)
    canvas.poly(((-0.19, 0.72), (0.19, 0.72), (0.17, 0.3), (-0.17, 0.3)), person.shirt)
    canvas.oval(0.0, 0.71, 0.19, 0.05, person.shirt)
    draw_head(canvas, person, pose)


def draw_arms(canvas: Canvas, person: Person, pose: Pose, back: bool = True, front: bool = True) -> None:
    """Draws the back and the front arm, or one of them."""
    for shown, side, hand, elbow in ((back, -1, pose.back, pose.elbows[0]), (front, 1, pose.front, pose.elbows[1])):
        if not shown:
            continue
        shoulder = (side * 0.16, _SHOULDER)
        middle = elbow or ((shoulder[0] + hand[0]) / 2, (shoulder[1] + hand[1]) / 2)
        canvas.line((middle, hand), 0.09, person.skin)
        canvas.line((shoulder, middle), 0.11, shade(person.shirt, 0.88))
        canvas.disc(*hand, 0.07, person.skin)


def draw_head(canvas: Canvas, person: Person, pose: Pose) -> None:
    """Draws the head alone, where a standing person has it."""
    with canvas.at(0.0, HEAD):
        if person.hair_style == "long":
            canvas.poly(((-0.25, 0.05), (0.25, 0.05), (0.26, -0.14), (-0.26, -0.14)), person.hair)
            canvas.disc(0.0, 0.04, 0.25, person.hair)
        elif person.hair_style == "curly":
            for x, y in ((-0.22, -0.02), (0.22, -0.02), (-0.2, 0.12), (0.2, 0.12), (-0.09, 0.21), (0.09, 0.21)):
                canvas.disc(x, y, 0.11, person.hair)
        elif person.hair_style == "bun":
            canvas.disc(0.0, 0.27, 0.11, person.hair)
        canvas.disc(0.0, 0.0, HEAD_RADIUS, person.skin)
        _draw_hair(canvas, person)
        _draw_face(canvas, pose)


def _draw_hair(canvas: Canvas, person: Person) -> None:
    style, hair = person.hair_style, person.hair
    if style == "short":
        canvas.pie(0.0, 0.01, 0.23, 15, 165, hair)
    elif style in ("long", "bun"):
        canvas.pie(0.0, 0.01, 0.23, 25, 155, hair)
        canvas.pie(-0.02, 0.02, 0.22, 95, 175, hair)
    elif style == "curly":
        for x in (-0.14, 0.0, 0.14):
            canvas.disc(x, 0.15, 0.08, hair)
    elif style == "cap":
        canvas.rect(-0.22, -0.06, -0.16, 0.1, hair)
        canvas.rect(0.16, -0.06, 0.22, 0.1, hair)
        cap = shade(person.shirt, 0.7)
        canvas.pie(0.0, 0.05, 0.23, 5, 175, cap)
        canvas.line(((0.0, 0.07), (0.31, 0.07)), 0.06, cap)


def _draw_face(canvas: Canvas, pose: Pose) -> None:
    for x in (-0.075, 0.095):
        if pose.eyes == "closed":
            canvas.line(((x - 0.04, 0.0), (x + 0.04, 0.0)), 0.03, INK)
        elif pose.eyes == "crossed":
            canvas.line(((x - 0.04, -0.04), (x + 0.04, 0.04)), 0.025, INK)
            canvas.line(((x - 0.04, 0.04), (x + 0.04, -0.04)), 0.025, INK)
        else:
            if pose.eyes in ("wide", "glasses"):
                canvas.disc(x, 0.0, 0.075, INK)
                canvas.disc(x, 0.0, 0.06, WHITE)
            canvas.oval(x, 0.0, 0.027, 0.035, INK)
    if pose.mouth == "smile":
        canvas.arc(0.01, -0.05, 0.075, 200, 340, 0.03, (140, 30, 40))
    elif pose.mouth == "open":
        canvas.oval(0.01, -0.11, 0.075, 0.065, (130, 20, 30))
    elif pose.mouth == "sad":
        canvas.arc(0.01, -0.17, 0.07, 30, 150, 0.03, (140, 30, 40))
    else:
        canvas.line(((-0.05, -0.11), (0.07, -0.11)), 0.03, (140, 30, 40))
