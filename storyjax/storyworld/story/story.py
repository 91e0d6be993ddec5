"""The story model: who, where, doing what, when, saying what. One seed, one story.

A story is a row of events of a few seconds each, in two to three places. Ordinary events may have a companion who does
something of their own at the same time. A mishap is followed by somebody's reaction, which it causes. Between places
somebody travels. Within a story no (verb, thing) pair occurs twice, so that 'after ana danced' names one moment.

Speech, particular things and camera motion belong to the story too: they are drawn here and rendered where needed.
"""

from dataclasses import dataclass, field

import numpy as np

from storyjax.storyworld.story.cast import KINDS, PEOPLE, PLACES, VEHICLES, Person, Thing, phrases
from storyjax.storyworld.story.population import EVERYONE


@dataclass(frozen=True)
class Performance:
    """One person doing one thing. `thing` is None for a verb that takes no object; for travel it is the vehicle."""

    person: str
    action: str
    thing: str | None = None

    @property
    def phrase(self) -> tuple[str, str | None]:
        """The (action, thing) pair."""
        return (self.action, self.thing)


@dataclass(frozen=True)
class Event:
    """What happens from `start` to `end` (seconds). The first performer leads, a second is the companion.

    For travel, `place` is the destination. `cause` is the index of the event that brought this one about.
    """

    start: float
    end: float
    role: str
    place: str
    performances: tuple[Performance, ...]
    cause: int | None = None

    @property
    def lead(self) -> Performance:
        """The performer who leads."""
        return self.performances[0]


@dataclass(frozen=True)
class Line:
    """Somebody says something, from `start` to `end` (seconds), in or out of the image."""

    speaker: str
    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Camera:
    """How the image moves: `shake` and `pan` are amplitudes as fractions of the image's width."""

    shake: float
    pan: float
    pan_period: float


@dataclass(frozen=True)
class Story:
    """A story: its seed, cast, events, lines, particular things and camera."""

    seed: int
    cast: tuple[Person, ...]
    things: tuple[Thing, ...]
    events: tuple[Event, ...]
    lines: tuple[Line, ...]
    camera: Camera

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.events[-1].end

    @property
    def places(self) -> tuple[str, ...]:
        """The places of the events, each once, in order."""
        return tuple(dict.fromkeys(event.place for event in self.events))

    def event_at(self, seconds: float) -> Event:
        """Returns the event that is under way at a time; the last one at and after the end."""
        return next((event for event in self.events if seconds < event.end), self.events[-1])


@dataclass(frozen=True)
class StoryStyle:
    """What stories are like. Times in seconds; `people` bounds the size of a cast, both ends included."""

    events: int = 15
    event_seconds: float = 3.0
    event_jitter: float = 0.4
    people: tuple[int, int] = (2, 6)
    scenes: int = 3
    mishaps: int = 2
    companions: float = 0.6  # chance that an ordinary event has a companion
    known_people: bool = True  # False: also those who are kept unseen
    names: tuple[str, ...] = field(default=())  # a fixed cast instead of a drawn one


SAYINGS = (
    "look at that",
    "this is fun",
    "where are we going",
    "i like it here",
    "come with me",
    "one more time please",
)


def make_story(seed: int, style: StoryStyle | None = None) -> Story:
    """Returns the story of a seed. The same seed and style always give the same story."""
    style = style or StoryStyle()
    rng = np.random.default_rng([seed, 0x57])
    cast = _draw_cast(rng, style)
    places = [list(PLACES)[i] for i in rng.permutation(len(PLACES))[: style.scenes]]
    plan = _plan(rng, style, places)
    events = _fill(rng, style, plan, [person.name for person in cast])
    camera = Camera(
        shake=float(rng.uniform(0, 0.01)), pan=float(rng.uniform(0, 0.06)), pan_period=float(rng.uniform(8, 20))
    )
    return Story(seed, cast, _particular_things(rng, cast), events, _speech(rng, events), camera)


def _draw_cast(rng: np.random.Generator, style: StoryStyle) -> tuple[Person, ...]:
    if style.names:
        return tuple(EVERYONE[name] for name in style.names)
    pool = [person for person in PEOPLE.values() if person.known or not style.known_people]
    size = int(rng.integers(style.people[0], style.people[1] + 1))
    return tuple(pool[i] for i in rng.permutation(len(pool))[:size])


def _plan(rng: np.random.Generator, style: StoryStyle, places: list[str]) -> list[tuple[str, str]]:
    """The roles and places of the events: scenes of ordinary events and mishap–reaction pairs, with travel between."""
    travels = len(places) - 1
    ordinary = style.events - travels - 2 * style.mishaps
    blocks: list[list[str]] = [["neutral"]] * ordinary + [["mishap", "reaction"]] * style.mishaps
    order = rng.permutation(len(blocks))
    # Every scene gets at least two blocks; where the cuts fall is drawn.
    free = len(blocks) - 2 * len(places)
    cuts = np.sort(rng.integers(0, free + 1, size=len(places) - 1)) + 2 * np.arange(1, len(places))
    plan = []
    for scene, (place, part) in enumerate(zip(places, np.split(order, cuts), strict=True)):
        if scene:
            plan.append(("travel", place))
        plan.extend((role, place) for block in part for role in blocks[block])
    return plan


def _fill(
    rng: np.random.Generator, style: StoryStyle, plan: list[tuple[str, str]], names: list[str]
) -> tuple[Event, ...]:
    """Gives each planned event its performers, things and times."""
    unused = {
        role: [phrases(role)[i] for i in rng.permutation(len(phrases(role)))]
        for role in ("neutral", "mishap", "reaction")
    }
    vehicles = [list(VEHICLES)[i] for i in rng.permutation(len(VEHICLES))]
    leads = _leads(rng, len(plan), names)
    events: list[Event] = []
    clock = 0.0
    for index, ((role, place), lead) in enumerate(zip(plan, leads, strict=True)):
        end = clock + style.event_seconds + rng.uniform(-style.event_jitter, style.event_jitter)
        if role == "travel":
            cast = [Performance(lead, "go", vehicles.pop())]
        else:
            cast = [Performance(lead, *unused[role].pop())]
        if role == "neutral" and rng.random() < style.companions:
            companion = str(rng.choice([name for name in names if name != lead]))
            cast.append(Performance(companion, *unused["neutral"].pop()))
        cause = index - 1 if role == "reaction" else None
        events.append(Event(clock, end, role, place, tuple(cast), cause))
        clock = end
    return tuple(events)


def _leads(rng: np.random.Generator, count: int, names: list[str]) -> list[str]:
    """Who leads each event: everyone at least once where there is room, nobody twice running."""
    while True:
        drawn = names[:count] + [str(name) for name in rng.choice(names, size=max(0, count - len(names)))]
        leads = [drawn[i] for i in rng.permutation(count)]
        for i in range(1, count):
            if leads[i] == leads[i - 1]:
                leads[i] = str(rng.choice([name for name in names if name != leads[i - 1]]))
        if set(names[:count]) <= set(leads):
            return leads


def _particular_things(rng: np.random.Generator, cast: tuple[Person, ...]) -> tuple[Thing, ...]:
    """Things of a story that are somebody's own; the dog is always a particular dog."""
    names = {"dog": ("chia", "rolo", "pip"), "bear": ("bruno", "dot", "fudge"), "car": ("flash", "rusty", "bee")}
    things = []
    for kind, choices in names.items():
        red, green, blue = np.clip(np.array(KINDS[kind]) + rng.integers(-50, 51, size=3), 0, 255).tolist()
        owner = cast[int(rng.integers(len(cast)))].name
        things.append(Thing(kind, (red, green, blue), str(rng.choice(choices)), owner))
    return tuple(things)


def _speech(rng: np.random.Generator, events: tuple[Event, ...]) -> tuple[Line, ...]:
    """A line in about half of the events, by somebody in the image."""
    lines = []
    for event in events:
        if rng.random() < 0.5:
            speaker = event.performances[int(rng.integers(len(event.performances)))].person
            text = str(rng.choice(SAYINGS))
            length = min(event.end - event.start - 0.2, len(text.split()) / EVERYONE[speaker].voice.rate)
            lines.append(Line(speaker, event.start + 0.1, event.start + 0.1 + length, text))
    return tuple(lines)
