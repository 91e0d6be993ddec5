"""How each data set of thesis Ch. 3 becomes examples: task token, condition, prompt and target.

| task | data set | condition | asks the language model |
|---|---|---|---|
| nextqa | NExT-QA | [QA] question | which of five options (§3.3.2) |
| matching | YT-Temporal | [TRG] sentence | nothing: stage (i) has no language model (contrastive.py) |
| captioning | YT-Temporal | [CPN] times | what happens from when to when (Fig. 3.5, task 1) |
| grounding | YT-Temporal | [TRG] sentence | when that was said (task 2) |
| denoising | YT-Temporal | [CPN] times | the sentence, which comes with holes (task 3) |
| narration | Ego4D narrations | [QA] the question | what somebody does from when to when (§3.6.2) |
| egoschema | EgoSchema | [QA] question | which of five options (§3.3.3) |
| lta | Ego4D LTA | [LTA] times and actions | the actions to come (§3.3.4) |
| mq, nlq | Ego4D MQ, NLQ | [TRG] what | timestamps at which it happens (§3.3.4) |
| msrvtt | MSR-VTT | [CPN] times | what happens in the clip |
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.times import LONGEST_S
from storyjax.data.prompts import (
    action_pair,
    anticipation_prompt,
    caption_prompt,
    grounding_prompt,
    grounding_target,
    mask,
    moments_prompt,
    narration_prompt,
    narration_question,
    option_names,
    question_prompt,
    spread,
    timestamps,
)
from storyjax.data.registry import DATASETS, resolve
from storyjax.tcr.loader import Example

Record = dict[str, Any]
Rng = np.random.Generator | None


@dataclass(frozen=True)
class Options:
    """Options of the tasks.

    Attributes:
        bins: timestamps of moment and language queries (§3.3.4: 1000 of a video).
        listed: timestamps in a training target of these.
        observed, future: actions observed and to come in anticipation; the prompt says their sum, 28.
        stride: of a video's actions every so many are taken for the first one observed.
        conditioned: the last so many observed actions stand in the TCR's prompt, which has limited room.
        video: Table 3.4: the video before the last observed action ends, or the whole.
        brackets: actions are said "(take, cup)"; without, "take cup".
        who: of narrations, the person that "the templ" of §3.6.2 stands for.
    """

    bins: int = 1000
    listed: int = 8
    observed: int = 8
    future: int = 20
    stride: int = 1
    conditioned: int = 8
    video: Literal["before", "whole"] = "whole"
    brackets: bool = True
    who: str = "templ"


@dataclass(frozen=True)
class TaskSpec:
    """How a data set is asked about.

    Attributes:
        dataset: of data/registry.py.
        make: (record, number, the video's seconds, generator or None, options) -> Example.
        count: (columns of a video, options) -> how many examples it has.
        scored: how answers are judged in evaluation; None where the data set is for training alone. "questions" are
            choices whose questions have types (Table 3.2).
        once: in evaluation the video's first example stands for all (captions of one clip).
        longest_s: what is seen of a longer video: where examples have times, no more than time tokens reach.
    """

    dataset: str
    make: Callable[[Record, int, float, Rng, Options], Example]
    count: Callable[[Mapping[str, Any], Options], int]
    scored: Literal["questions", "choice", "times", "actions", "caption"] | None = None
    once: bool = False
    longest_s: float = LONGEST_S

    @property
    def builder(self) -> Any:
        """The TFDS builder of the data set's records, a class."""
        builder = DATASETS[self.dataset].builder
        assert builder is not None  # every data set of a task has one
        return resolve(builder)


def inside(spans: Iterable[tuple[Any, Any]], duration: float) -> list[tuple[float, float]]:
    """Returns what begins before its video ends, cut there: its length need not be known before it is decoded."""
    return [(float(start), min(float(end), duration)) for start, end in spans if start < duration]


def spans_of(columns: Mapping[str, Any], row: int, duration: float, moments: bool = False) -> list[tuple[float, float]]:
    """Returns when an annotation begins and ends in its video; with `moments`, all of the `row`th label `queried`."""
    rows = [row]
    if moments:
        label = queried(columns)[row]
        rows = [place for place, name in enumerate(columns["label"]) if name == label]
    return inside([(columns["start"][place], columns["end"][place]) for place in rows], duration)


def _spans(record: Record, row: int, duration: float, moments: bool = False) -> list[tuple[float, float]]:
    """`spans_of` what is asked for, of which there is one at least."""
    found = spans_of(record, row, duration, moments)
    if not found:
        start = min(start for start, _ in spans_of(record, row, math.inf, moments))
        raise StoryjaxError(f"video {record['video_id']} ends at {duration:.1f} s, and this is of {start:g} s")
    return found


def _span(record: Record, row: int, duration: float) -> tuple[float, float]:
    (found,) = _spans(record, row, duration)
    return found


def _captioning(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    start, end = _span(record, row, duration)
    return Example("CPN", (start, end), caption_prompt(start, end), record["sentence"][row])


def _matching(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    _span(record, row, duration)
    return Example("TRG", (record["sentence"][row],), "", "")


def _grounding(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    sentence = record["sentence"][row]
    target = grounding_target(*_span(record, row, duration))
    return Example("TRG", (sentence,), grounding_prompt(sentence), target)


def _denoising(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    """One of the two corruptions of Fig. 3.5: a) a time and some words in the middle, b) the words at the end."""
    rng = np.random.default_rng(row) if rng is None else rng
    start, end = _span(record, row, duration)
    words = record["sentence"][row].split()
    hole = max(1, round(0.4 * len(words)))
    if rng.random() < 0.5 and len(words) > 2:
        first = int(rng.integers(1, max(2, len(words) - hole)))
        kept = " ".join([*words[:first], mask(1), *words[first + hole :]])
        prompt = f"{mask(0)} {round(end)} {kept}"
        target = f"{mask(0)} {round(start)} {mask(1)} {' '.join(words[first : first + hole])}"
    else:
        prompt = f"{round(start)} {round(end)} {' '.join([*words[:-hole], mask(0)])}"
        target = f"{mask(0)} {' '.join(words[-hole:])}"
    return Example("CPN", (start, end), prompt, target)


def _narration(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    """A question without options. It is what trains [QA] before EgoSchema, whose input is designed as NExT-QA's is
    (§3.3.3): the TCR is prompted with the question, its times as time tokens (§3.6.1).
    """
    asked = (*_span(record, row, duration), record["kind"][row] == "summary", options.who)
    return Example("QA", narration_question(*asked), narration_prompt(*asked), record["sentence"][row])


def _question(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    asked, choices, answer = record["question"][row], record["options"][row], int(record["answer"][row])
    target = option_names(len(choices))[max(answer, 0)]
    kind = record["type"][row] if "type" in record else None
    return Example("QA", (asked,), question_prompt(asked, choices), target, answer, kind)


def _lta_windows(columns: Mapping[str, Any], options: Options) -> int:
    return max(0, (len(columns["verb"]) - options.observed - options.future) // options.stride + 1)


def window(record: Mapping[str, Any], row: int, options: Options) -> tuple[range, range]:
    """Returns the numbers of the actions that are observed, and of those that are to come."""
    first = row * options.stride
    then = first + options.observed
    return range(first, then), range(then, min(then + options.future, len(record["verb"])))


def _lta(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    actions = list(zip(record["verb"], record["noun"], strict=True))
    observed, ahead = window(record, row, options)
    _span(record, observed[-1], duration)
    # Of the challenge's test set nobody knows the actions, only when they are.
    said = {
        i: action_pair(actions[i][0], actions[i][1], options.brackets) if actions[i][0] else ""
        for i in (*observed, *ahead)
    }
    conditioned = list(observed)[-options.conditioned :] if options.conditioned else []
    condition = tuple(part for i in conditioned for part in (float(record["start"][i]), said[i]))
    until = float(record["end"][observed[-1]]) if options.video == "before" else None
    prompt = anticipation_prompt([said[i] for i in observed if said[i]], options.observed + options.future)
    return Example("LTA", condition, prompt, ", ".join(said[i] for i in ahead), until=until)


def queried(columns: Mapping[str, Any]) -> list[str]:
    """Returns the different labels of a video's moments, in the order in which they are met."""
    return list(dict.fromkeys(columns["label"]))


def _timestamps(spans: list[tuple[float, float]], duration: float, rng: Rng, options: Options) -> str:
    """Timestamps inside the spans: a random draw of them in training, in no order; evenly taken ones in evaluation.

    The first of a random row is equally likely to be any of them, so that the distribution which the language model
    learns for it *is* where the moments are; evaluation reads it there.
    """
    inside = timestamps(spans, duration, options.bins)
    if rng is None:
        chosen = spread(inside, options.listed)
    else:
        chosen = [inside[i] for i in rng.permutation(len(inside))[: options.listed]]
    return " ".join(map(str, chosen))


def _mq(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    label = queried(record)[row]
    stamps = _timestamps(_spans(record, row, duration, moments=True), duration, rng, options)
    return Example("TRG", (label,), moments_prompt(label, options.bins), stamps)


def _nlq(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    query = record["query"][row]
    stamps = _timestamps(_spans(record, row, duration), duration, rng, options)
    return Example("TRG", (query,), moments_prompt(query, options.bins), stamps)


def _msrvtt(record: Record, row: int, duration: float, rng: Rng, options: Options) -> Example:
    return Example("CPN", (0.0, duration), caption_prompt(0.0, duration), record["caption"][row])


def _length(column: str) -> Callable[[Mapping[str, Any], Options], int]:
    return lambda columns, options: len(columns[column])


_SENTENCES = _length("sentence")
TASKS: dict[str, TaskSpec] = {
    "nextqa": TaskSpec("nextqa", _question, _length("question"), "questions", longest_s=math.inf),
    "matching": TaskSpec("yttemporal", _matching, _SENTENCES, once=True),
    "captioning": TaskSpec("yttemporal", _captioning, _SENTENCES, "caption"),
    "grounding": TaskSpec("yttemporal", _grounding, _SENTENCES),
    "denoising": TaskSpec("yttemporal", _denoising, _SENTENCES),
    "narration": TaskSpec("ego4d_narrations", _narration, _SENTENCES),
    "egoschema": TaskSpec("egoschema", _question, _length("question"), "choice"),
    "lta": TaskSpec("ego4d_lta", _lta, _lta_windows, "actions"),
    "mq": TaskSpec("ego4d_mq", _mq, lambda columns, options: len(queried(columns)), "times"),
    "nlq": TaskSpec("ego4d_nlq", _nlq, _length("query"), "times"),
    "msrvtt": TaskSpec("msrvtt", _msrvtt, _length("caption"), "caption", once=True),
}
