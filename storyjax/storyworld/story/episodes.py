"""Episodes of a series: who says what and when, in which shots, and when the audience laughs. A seed is an episode.

An episode is made of scenes: a place, two or three of the cast, one scene with somebody who is not in the
cast list. Cameras show the speaker alone, the speaker and a listener (who may be chewing, so that a moving mouth alone
proves nothing), only a listener (the speaker is off-screen), or nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from storyjax.storyworld.draw.personal_objects import PersonalObject
from storyjax.storyworld.render.speech import RATE, Speaker, draw_texts, speak
from storyjax.storyworld.story.cast import PLACES
from storyjax.storyworld.story.dialogue import TEXTS


@dataclass(frozen=True)
class Character:
    """Somebody in a series. `name` is a key of `population.EVERYONE`; `listed`: whether the cast list knows them."""

    name: str
    voice: Speaker
    listed: bool = True


@dataclass(frozen=True)
class Line:
    """What somebody says: times in seconds, the text and its number in TEXTS; `visible` if the camera shows them."""

    start: float
    end: float
    speaker: str
    voice: Speaker
    saying: int
    visible: bool
    gain: float = 1.0

    @property
    def text(self) -> str:
        """What is said."""
        return TEXTS[self.saying]


@dataclass(frozen=True)
class Figure:
    """Somebody in a shot. `x`, `y`: the head's centre, from the upper left; `unit`: a person's unit (a standing person
    has 1.15); all as fractions of the image's width. `turn` in degrees. `chews`: so often a second (0: not at all).
    """

    name: str
    x: float
    y: float
    unit: float
    turn: float
    mirror: bool
    hands: tuple[tuple[float, float], tuple[float, float]]
    eyes: str
    chews: float = 0.0


@dataclass(frozen=True)
class PlacedThing:
    """A particular thing in a shot: `owner` is a key of `population.EVERYONE`. `x`: its middle, from the left; `foot`:
    its lower edge, from the top; `width`: of its square; all as fractions of the image.
    """

    thing: PersonalObject
    owner: str
    x: float
    foot: float
    width: float
    mirror: bool


@dataclass(frozen=True)
class EpisodeShot:
    """What the camera shows from `start` to `end` (seconds). `pan` is how far it moves over the place in that time
    (fractions); people and things stay where they are in the image. `things` are in front of people.
    """

    start: float
    end: float
    place: str
    figures: tuple[Figure, ...]
    light: float
    pan: tuple[float, float]
    things: tuple[PlacedThing, ...] = ()


@dataclass(frozen=True)
class Noise:
    """A sound that nobody says: when (seconds), how loud (root mean square), and its seed."""

    start: float
    end: float
    loudness: float
    seed: int


@dataclass(frozen=True)
class Episode:
    """All that happens. Lines, shots, laughs and music are in the order in which they begin."""

    seed: int
    duration: float
    lines: tuple[Line, ...]
    shots: tuple[EpisodeShot, ...]
    laughs: tuple[Noise, ...]
    music: tuple[Noise, ...]


@dataclass(frozen=True)
class EpisodeStyle:
    """What episodes are like; fractions are of lines.

    Attributes:
        seconds: about how long an episode is.
        held_out: whether what is said is held out of training (`dialogue.py`).
        single, pair, reaction: the speaker alone; the speaker and a listener; a listener alone. The rest show nobody.
        laughs: lines after which the audience laughs.
        interrupts: lines that begin before the last one has ended.
        chewing: listeners whose mouths move.
        exclamations: lines that are short.
    """

    seconds: float = 120.0
    held_out: bool = True
    single: float = 0.5
    pair: float = 0.28
    reaction: float = 0.15
    laughs: float = 0.25
    interrupts: float = 0.05
    chewing: float = 0.3
    exclamations: float = 0.12


@dataclass
class _Draft:
    """An episode while it is being written."""

    lines: list[Line] = field(default_factory=list)
    scenes: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)  # first line, place, who is there
    laughs: list[Noise] = field(default_factory=list)
    music: list[Noise] = field(default_factory=list)


def write_episode(
    seed: int, cast: Sequence[Character], extras: Sequence[Character] = (), style: EpisodeStyle | None = None
) -> Episode:
    """Returns the episode of a seed: everybody of `cast` takes part, and one of `extras` in one scene, if there are
    any."""
    if len(cast) < 2:
        raise ValueError("an episode needs two characters at least")
    style = style or EpisodeStyle()
    rng = np.random.default_rng([seed, 0xE9])
    draft, now = _Draft(), 0.0
    sayings = iter(draw_texts(rng, 40 + round(style.seconds), style.held_out, style.exclamations))
    everybody = [cast[int(i)] for i in rng.permutation(len(cast))]
    extra_scene, scene = int(rng.integers(0, 3)), 0
    while now < style.seconds:
        present = [
            everybody[(2 * scene + i) % len(everybody)] for i in range(min(len(everybody), 2 + int(rng.random() < 0.5)))
        ]
        if extras and scene == extra_scene:
            present = [*present[:2], extras[int(rng.integers(len(extras)))]]
        now = _write_scene(draft, now, present, sayings, style, rng)
        scene += 1
    duration = round(now + 0.5, 2)
    return Episode(
        seed,
        duration,
        *_make_shots(draft, duration, style, rng),
        tuple(draft.laughs),
        tuple(draft.music),
    )


def _write_scene(draft, now: float, present: list[Character], sayings, style: EpisodeStyle, rng) -> float:
    """Music, then lines in turn; returns when the scene is over (seconds)."""
    sting = float(rng.uniform(1.2, 2.4))
    draft.music.append(Noise(now + 0.1, now + sting, float(rng.uniform(0.03, 0.06)), int(rng.integers(2**31))))
    place = str(rng.choice(list(PLACES)))
    draft.scenes.append((len(draft.lines), place, tuple(c.name for c in present)))
    now += sting + float(rng.uniform(0.2, 0.5))
    turn = int(rng.integers(len(present)))
    for _ in range(int(rng.integers(7, 11))):
        saying = next(sayings)
        who = present[turn]
        length = len(speak(who.voice, saying)) / RATE
        first_of_scene = len(draft.lines) == draft.scenes[-1][0]
        if not first_of_scene and rng.random() < style.interrupts and draft.lines[-1].speaker != who.name:
            last = draft.lines[-1]
            start = max(last.start + 0.3, last.end - float(rng.uniform(0.3, 0.8)))
        else:
            start = now + float(rng.uniform(0.15, 0.6))
        line = Line(start, start + length, who.name, who.voice, saying, True, float(rng.uniform(0.6, 1.1)))
        draft.lines.append(line)
        now = max(now, line.end)
        if rng.random() < style.laughs:
            # Laughter rises on the last syllable, and the actors wait for most of it.
            laugh = float(rng.uniform(1.2, 2.6))
            begin = now - 0.1
            noise = Noise(begin, begin + laugh, float(rng.uniform(0.04, 0.08)), int(rng.integers(2**31)))
            draft.laughs.append(noise)
            now = begin + 0.8 * laugh
        if rng.random() < 0.85:
            turn = (turn + int(rng.integers(1, len(present)))) % len(present)
    return now + 0.4


def _make_shots(
    draft: _Draft, duration: float, style: EpisodeStyle, rng
) -> tuple[tuple[Line, ...], tuple[EpisodeShot, ...]]:
    """The shots, one for each line and an empty one for music; and the lines, now that it is known who is seen."""
    lines, shots, cut = [], [], 0.0
    firsts = [first for first, _, _ in draft.scenes]
    for index, line in enumerate(draft.lines):
        scene = max(i for i, first in enumerate(firsts) if first <= index)
        _, place, present = draft.scenes[scene]
        if index == firsts[scene]:
            shots.append(_shot(cut, max(cut + 0.2, line.start - 0.1), place, (), rng))
            cut = shots[-1].end
        follows = draft.lines[index + 1] if index + 1 < len(draft.lines) else None
        end = duration if follows is None else _cut_between(line, follows, index + 1 in firsts)
        end = max(end, cut + 0.2)
        others = [name for name in present if name != line.speaker]
        names = _who_is_shown(line.speaker, others, style, rng)
        shots.append(_shot(cut, end, place, _figures(names, line.speaker, style, rng), rng))
        lines.append(
            Line(line.start, line.end, line.speaker, line.voice, line.saying, line.speaker in names, line.gain)
        )
        cut = end
    return tuple(lines), tuple(shots)


def _cut_between(line: Line, follows: Line, new_scene: bool) -> float:
    """Between two lines; where one interrupts the other, when it begins; at the end of a scene soon after the line."""
    if new_scene:
        return min(line.end + 0.4, follows.start)
    return follows.start if follows.start < line.end else (line.end + follows.start) / 2


def _who_is_shown(speaker: str, others: list[str], style: EpisodeStyle, rng) -> tuple[str, ...]:
    listener = str(rng.choice(others)) if others else None
    draw = rng.random()
    if draw < style.single or listener is None:
        return (speaker,)
    if draw < style.single + style.pair:
        return (speaker, listener) if rng.random() < 0.5 else (listener, speaker)
    return (listener,) if draw < style.single + style.pair + style.reaction else ()


def _figures(names: tuple[str, ...], speaker: str, style: EpisodeStyle, rng) -> tuple[Figure, ...]:
    """People from left to right."""
    figures = []
    for place, name in enumerate(names):
        alone = len(names) == 1
        x = 0.5 + float(rng.uniform(-0.08, 0.08)) if alone else (0.27, 0.73)[place] + float(rng.uniform(-0.03, 0.03))
        back, front = ((side * float(rng.uniform(0.2, 0.34)), float(rng.uniform(0.3, 0.55))) for side in (-1, 1))
        chews = name != speaker and rng.random() < style.chewing
        figures.append(
            Figure(
                name,
                x,
                float(rng.uniform(0.33, 0.42)),
                float(rng.uniform(0.62, 0.85) if alone else rng.uniform(0.46, 0.58)),
                float(rng.uniform(-7, 7)),
                bool(rng.random() < 0.5),
                (back, front),
                str(rng.choice(["open", "open", "open", "wide", "glasses"])),
                float(rng.uniform(1.2, 3.0)) if chews else 0.0,
            )
        )
    return tuple(figures)


def _shot(start: float, end: float, place: str, figures: tuple[Figure, ...], rng) -> EpisodeShot:
    pan = (float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.03, 0.03)))
    return EpisodeShot(start, end, place, figures, float(rng.uniform(0.88, 1.05)), pan)
