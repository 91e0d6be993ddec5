"""What the people of StoryWorld's series say: sentences of a sitcom, and short exclamations.

Each may be said by anybody, so that words do not identify the speaker. The first two thirds are for training, the rest
is held out. `tools/make_voice_bank.py` has them spoken; after a change here the bank must be made anew.
"""

SENTENCES: tuple[str, ...] = (
    "I told you to bring the umbrella this morning.",
    "Somebody has eaten the last piece of my birthday cake.",
    "You can't just borrow a boat and forget to give it back.",
    "The doctor said that I should drink more water.",
    "Why is there a horse in the middle of the kitchen?",
    "My mother is coming to visit us on Sunday.",
    "I have never seen anybody run that fast in my life.",
    "Could you please turn the music down a little?",
    "We were supposed to meet at the library an hour ago.",
    "He sold his car and bought a drum instead.",
    "This is the worst soup that I have ever tasted.",
    "I think the neighbours are painting their fence again.",
    "Do you remember where we parked the bus?",
    "She said yes before I even finished the question.",
    "There is nothing wrong with wearing two hats.",
    "I was going to call you, but my phone fell into the harbour.",
    "Nobody told me that we were going to the desert.",
    "It took me three weeks to learn this song.",
    "You look tired, have you slept at all?",
    "The window was broken when I came home.",
    "I would rather stay in the garden and read a book.",
    "Please don't tell anybody what happened at the party.",
    "How much did you pay for that terrible chair?",
    "They moved to the forest to get away from the noise.",
    "I can explain everything if you give me a minute.",
    "Your dog has been barking since the early morning.",
    "We should have taken the train to the city.",
    "That is not how you hold a guitar.",
    "I bought these flowers for my teacher.",
    "What would you do with a million balloons?",
    "He always laughs at his own jokes.",
    "The lamp fell on my foot and now I can hardly walk.",
    "I promise that I will never be late again.",
    "Are you really going to eat the whole pizza?",
    "She has been hiding in the garage all day.",
    "My brother wants to become a famous dancer.",
    "I left my keys on the table next to the door.",
    "Everybody knows that bears don't like the rain.",
    "We have to leave now or we will miss the show.",
    "Who put the vase on top of the refrigerator?",
    # From here on: held out.
    "I can't believe that you kept this secret for ten years.",
    "The plane leaves tonight and my bag is still empty.",
    "Have you ever tried to wash a cat in the sink?",
    "He opened the box and there was nothing inside.",
    "I only came back because I forgot my coat.",
    "There must be a better way to cook an egg.",
    "You promised to help me move the piano today.",
    "My grandmother swims in the lake every winter.",
    "Let me guess, you lost the tickets again.",
    "We could open a little restaurant by the sea.",
    "I don't know who he is, but he is wearing my shoes.",
    "Did anybody else hear that strange sound upstairs?",
    "The waiter brought us somebody else's dinner.",
    "I spent the whole summer building this kite.",
    "You should have seen the look on her face.",
    "Every time I call him, his sister answers the phone.",
    "It was raining so hard that the street became a river.",
    "Would you mind if I opened the window?",
    "I have a feeling that this is going to be a long night.",
    "The bank is closed and I have no money left.",
)

EXCLAMATIONS: tuple[str, ...] = (
    "Oh no!",
    "What?",
    "Really?",
    "Of course!",
    "Stop it!",
    "Not again!",
    "Exactly!",
    "Wait!",
    # Held out.
    "Come on!",
    "Never!",
    "Look at that!",
    "Thank you!",
)

TEXTS: tuple[str, ...] = SENTENCES + EXCLAMATIONS
_HELD_SENTENCES, _HELD_EXCLAMATIONS = 40, 8


def text_numbers(held_out: bool) -> tuple[range, range]:
    """Returns the numbers in TEXTS of the sentences and of the exclamations of a split."""
    first, count = len(SENTENCES), len(EXCLAMATIONS)
    if held_out:
        return range(_HELD_SENTENCES, first), range(first + _HELD_EXCLAMATIONS, first + count)
    return range(_HELD_SENTENCES), range(first, first + _HELD_EXCLAMATIONS)
