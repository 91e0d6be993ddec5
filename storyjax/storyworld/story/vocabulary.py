"""The words of StoryWorld, for the tokenizers of the small networks."""

import string

from storyjax.storyworld.story.cast import ACTIONS, KINDS, PEOPLE, PLACES, VEHICLES
from storyjax.storyworld.story.story import SAYINGS

# Words of sentences, questions and prompts that are no name, verb or noun of the world.
_GRAMMAR = (
    "a an and at because by did describe do from go happened happens how in is it many of on people question option"
    " options right before after second seconds story the this times to video what when where which while who whose why"
    " considering information frames select correct answer she he they her his are there was were there's first last"
    " image picture somebody someone nobody photo with"
)
# Words of a note are this word's embedding more than the same words in a prompt: the reader sees what was observed.
NOTE_MARK = "<extra_id_0>"
_MARKS = (".", ",", "?", "!", ":", ";", "'", "-")


def vocabulary(numbers: int = 100, sentinels: int = 8) -> list[str]:
    """Returns all words in a fixed order: grammar, marks, letters, numbers, then the world's own, and T5's sentinels
    last."""
    verbs = [form for action in ACTIONS.values() for form in (action.base, action.past, action.gerund)]
    sayings = [word for saying in SAYINGS for word in saying.split()]
    words = [
        *_GRAMMAR.split(),
        *_MARKS,
        *string.ascii_lowercase,
        *map(str, range(numbers)),
        *PEOPLE,
        *PLACES,
        *KINDS,
        *VEHICLES,
    ]
    words += [*verbs, *sayings, *(f"<extra_id_{index}>" for index in range(sentinels))]
    return list(dict.fromkeys(words))
