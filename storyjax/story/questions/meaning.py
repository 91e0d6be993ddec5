"""What a question about a story means, as `questions.understand` reads it and `ask.ask` answers it.

A question asks for something (`Kind`) of an event: somebody says something, or people and things are seen. Relations
bind the event to others ("while Ben is seen", "right after Ana says ..."), windows to the clock.
"""

from dataclasses import dataclass
from enum import StrEnum

LAST = -1


class Kind(StrEnum):
    """What is asked for."""

    WHO = "who"
    WHEN = "when"
    WHERE = "where"
    COUNT = "how often"
    COUNT_PEOPLE = "how many people"
    DURATION = "how long"
    WORDS = "what is said"
    TOPIC = "what is talked about"
    THINGS = "which things"
    FILMS = "which films"
    YES_NO = "yes or no"
    HAPPENS = "what happens"
    IDENTITY = "who somebody is"


class Link(StrEnum):
    """How an event lies to another one."""

    WHILE = "while"
    AFTER = "after"
    BEFORE = "before"
    RIGHT_AFTER = "right after"
    RIGHT_BEFORE = "right before"


@dataclass(frozen=True)
class Reference:
    """Whom or what a part of a question means.

    Attributes:
        text: as it was written.
        entities: ids; several are joined ("the dogs"), none is a name that nobody has.
        category: of a thing that is called by it ("the dog").
        owner: of a thing ("Ana's dog").
        said: "the person who says ...": whoever says it.
        hint: the known name that an unknown one may mean, as a sentence, or "".
    """

    text: str
    entities: tuple[int, ...] = ()
    category: str | None = None
    owner: "Reference | None" = None
    said: str | None = None
    hint: str = ""

    @property
    def known(self) -> bool:
        """Whether the story may hold it."""
        return bool(self.entities or self.category or self.said)


@dataclass(frozen=True)
class Window:
    """A part of a film, in seconds from its beginning, or from its end where negative; None: open.

    `fractions`: the ends are fractions of the film's length ("in the second half").
    """

    start: float | None = None
    end: float | None = None
    fractions: bool = False

    def within(self, duration_s: float) -> tuple[float, float]:
        """Returns begin and end in a film of that length, in seconds."""
        unit = duration_s if self.fractions else 1.0
        ends = [None if value is None else value * unit for value in (self.start, self.end)]
        start, end = (value + duration_s if value is not None and value < 0 else value for value in ends)
        return (0.0 if start is None else max(0.0, start)), (duration_s if end is None else end)


@dataclass(frozen=True)
class Say:
    """Somebody of `speakers` (nobody: anybody) says `quote`, or something `about` some words, or anything."""

    speakers: tuple[Reference, ...] = ()
    quote: str | None = None
    about: str | None = None
    # Addressed: who is seen meanwhile, or speaks next or before.
    to: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Seen:
    """All of them are seen at once; nobody named: the film itself."""

    who: tuple[Reference, ...] = ()


Event = Say | Seen


@dataclass(frozen=True)
class Relation:
    """How the event that is asked about lies to another one."""

    link: Link
    event: Event
    place: str | None = None


@dataclass(frozen=True)
class Question:
    """A question that was understood.

    Attributes:
        kind: what it asks for.
        event: that it is about.
        relations: all must hold.
        windows: all must hold.
        place: that the event is in.
        order: 1 for the first such event, 2 for the second, LAST, or None for any.
        film: name of the film, None for all.
        without: who is not to be in the answer ("who else").
        among: who alone is asked about ("Ana or Ben"); none: everybody.
        most: the question is for the one with the most (1) or the least (-1).
        notes: how something was read, for people.
        referred: whether it says "then" or "here" without having said when.
    """

    kind: Kind
    event: Event
    relations: tuple[Relation, ...] = ()
    windows: tuple[Window, ...] = ()
    place: str | None = None
    order: int | None = None
    film: str | None = None
    without: tuple[Reference, ...] = ()
    among: tuple[Reference, ...] = ()
    most: int = 0
    notes: tuple[str, ...] = ()
    referred: bool = False

    def references(self) -> list[Reference]:
        """Returns everybody and everything that the question names, owners first."""
        events = [self.event, *(relation.event for relation in self.relations)]
        named = [*self.without, *self.among]
        for event in events:
            named += [*event.speakers, *event.to] if isinstance(event, Say) else event.who
        return [
            one for reference in named for one in ((reference.owner, reference) if reference.owner else (reference,))
        ]


class NotUnderstood(Exception):
    """The question has no reading; its text says what stands in the way."""
