"""`storyjax story ask`: a question about the films of a story."""

import argparse
import sys
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text

ASK = """\
Answers questions about the films of a story: who, when, where, with whom, how often, how long, and what somebody says,
in plain English. The answer comes from the tables of DIR/story.sqlite, with the times that it stands on, and is "not
known", with the reason, where they hold none.

  storyjax story ask runs/story 'who says "where is the dog"?'
  storyjax story ask runs/story 'what does Ana say right after Ben says "good morning"?'
  storyjax story ask runs/story "when are Ana and Ben together?" --film episode1
  storyjax story ask runs/story "how often does Ben speak while Ana is seen?" --json
  storyjax story ask runs/story "who is seen?" --at 2:10
  storyjax story ask runs/story "what happens in the first ten seconds?" --film episode1

What happens is in no table: the model that `storyjax ask` uses looks at the times that the tables name.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parser to `commands`, and to `made` by name."""
    ask = made["story ask"] = commands.add_parser("story ask", description=ASK)
    ask.add_argument("folder", metavar="DIR", help="a story, made by 'storyjax story'")
    ask.add_argument("question", nargs="+", help="in quotes; several are answered in turn")
    ask.add_argument("--film", metavar="NAME", help="the film that is meant (default: the one that is named, or all)")
    ask.add_argument("--at", metavar="TIME", help='the moment that "now" means, and a question without a time: 2:10')
    ask.add_argument("--json", action="store_true", help="prints the answer, or a list of them, as JSON")
    ask.set_defaults(act=_ask)


def _ask(arguments: argparse.Namespace) -> int:
    from storyjax.story.questions.ask import ask
    from storyjax.story.questions.times import amount
    from storyjax.story.store import Story

    at_s = None if arguments.at is None else amount(arguments.at)
    if arguments.at is not None and at_s is None:
        try:
            at_s = float(arguments.at)
        except ValueError:
            raise StoryjaxError(f"--at {arguments.at} is no time: give 2:10, '2 minutes' or seconds") from None
    if not Path(arguments.folder).is_dir() and " " in arguments.folder:
        raise StoryjaxError(f"no folder '{arguments.folder}': the story's folder comes first, then the question")
    with Story.open(arguments.folder) as story:
        if arguments.film is not None:
            story.film(arguments.film)  # a slip in its name needs no question
        answers = [
            ask(
                story,
                question,
                arguments.film,
                at_s,
                progress=lambda text: print(f"storyjax: {text}", file=sys.stderr),
            )
            for question in arguments.question
        ]
    if arguments.json:
        found = [answer.to_json() for answer in answers]
        print(json_text(found if len(found) > 1 else found[0], indent=2))
    else:
        shown = [answer.in_words() for answer in answers]
        if len(answers) > 1:
            shown = [f"question: {answer.question}\n{text}" for answer, text in zip(answers, shown, strict=True)]
        print("\n\n".join(shown))
    return 0
