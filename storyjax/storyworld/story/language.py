"""How StoryWorld speaks: phrases, sentences and whole stories, in lower case, with spaces around punctuation."""

from collections.abc import Iterable, Sequence

from storyjax.storyworld.story.cast import ACTIONS
from storyjax.storyworld.story.population import EVERYONE
from storyjax.storyworld.story.story import Event, Performance, Story


def verb_phrase(performance: Performance, form: str = "past") -> str:
    """Returns 'kicked the ball', 'kick the ball' or 'kicking the ball'; `form` is past, base or gerund."""
    verb = getattr(ACTIONS[performance.action], form)
    return verb if performance.thing is None else f"{verb} the {performance.thing}"


def clause(performance: Performance) -> str:
    """Returns 'ana kicked the ball'."""
    return f"{performance.person} {verb_phrase(performance)}"


def pronoun_clause(performance: Performance) -> str:
    """Returns 'she kicked the ball'."""
    return f"{EVERYONE[performance.person].pronoun} {verb_phrase(performance)}"


def performances(event: Event, first: str | None = None) -> list[Performance]:
    """Returns what is done in an event, first what `first` does if that person takes part, else what the lead does."""
    return sorted(event.performances, key=lambda performance: performance.person != first)


def sentence(event: Event, first: str | None = None) -> str:
    """Returns what happens in an event, in the order of `performances`: 'ana danced and ben slept in the park .'"""
    if event.role == "travel":
        return f"{event.lead.person} went to the {event.place} by {event.lead.thing} ."
    return f"{' and '.join(clause(p) for p in performances(event, first))} in the {event.place} ."


def cast_sentence(story: Story) -> str:
    """Returns who is in the story, in the order of the alphabet: 'people : ana ben mia .'"""
    return people_sentence(person.name for person in story.cast)


def people_sentence(names: Iterable[str]) -> str:
    """Returns a sentence that lists people in alphabetical order: 'people : ana ben mia .'"""
    return f"people : {' '.join(sorted(names))} ."


# A note has this many words: two performances of three words each, the place, and what kind of note it is.
NOTE_WORDS = 8


def note(event: Event, first: str | None = None) -> str:
    """Returns an event in eight words, gaps marked, in the order of `performances`: 'ana danced - ben read book park .'

    Travel notes the destination.
    """
    return _note(performances(event, first), event.place)


def part_note(event: Event, person: str) -> str:
    """Returns a note of what one of the performers does, as if nobody else were there: 'ben read book - - - park .'"""
    return _note([performance for performance in event.performances if performance.person == person], event.place)


def _note(performances: Sequence[Performance], place: str) -> str:
    words = []
    for performance in performances:
        words += [performance.person, ACTIONS[performance.action].past, performance.thing or "-"]
    words += ["-"] * (NOTE_WORDS - 2 - len(words))
    return " ".join([*words, place, "."])


def cast_note(story: Story) -> str:
    """Returns who is in the story and how many, in eight words: 'ana ben mia - - - 3 people'."""
    names = sorted(person.name for person in story.cast)
    return " ".join([*names, *["-"] * (NOTE_WORDS - 2 - len(names)), str(len(names)), "people"])


def notes(story: Story) -> str:
    """Returns the whole story in notes, the cast first."""
    return " ".join([cast_note(story), *(note(event) for event in story.events)])


def narration(story: Story, events: Sequence[Event] | None = None) -> str:
    """Returns a story, or some of its events, as sentences in order."""
    return " ".join(sentence(event) for event in (story.events if events is None else events))
