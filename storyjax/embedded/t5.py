"""A small T5 of StoryWorld: story text and a question with options in, the answer out.

It is trained on text alone, on stories generated on the fly, as notes of eight words per event. Later it is frozen and
reads the outputs of a resampler in the place of a note's words, so most examples are single notes, with noise added.

Five measures let a model of this size learn to answer with option letters in minutes instead of hours. Words of a note
carry a mark, so that they differ from the same words in a prompt (T5 has no absolute positions). The encoder starts by
attending to equal words and to near ones (`Reader.init`). Half of the answers continue with the option's words, which
the decoder learns to find first. Linear pointers, not part of the T5, train the encoder to mark the words and the
letter of the right option. And the input embeddings stay at their initial values, which also allows a resampler to be
aligned to them before the T5 is trained.
"""

import functools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.prompts import caption_prompt, option_names, question_prompt
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer, WordTokenizer, pad
from storyjax.embedded.t5_reader import Reader, ReadingData, StorySeeds
from storyjax.embedded.t5_sequences import SequenceData, sequence_task, with_induction_head
from storyjax.models.t5 import T5, T5Config
from storyjax.storyworld.story.language import cast_note, cast_sentence, note, notes, part_note, sentence
from storyjax.storyworld.story.questions import OPTIONS, TYPES, Question, questions
from storyjax.storyworld.story.story import Story, make_story
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.train.checkpoint import load_saved
from storyjax.train.experiment import Evaluator, Experiment, Export, Input, Params, Task, summing_evaluator


def load_examples(
    seed: int, rng: np.random.Generator, data: ReadingData, tokenizer: Tokenizer, kinds: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Returns one story's examples, padded: story (k, l), story_mask, prompt, prompt_mask, target, answer, type, valid.

    With `kinds` every question of the story is asked with each of these kinds of text (for evaluation), else a mix of
    kinds is drawn.
    """
    story = make_story(seed)
    asked = questions(story)
    if kinds is None:
        mix = {name: getattr(data.mix, name) for name in ("full", "evidence", "window", "caption", "find")}
        fractions = np.array(list(mix.values())) / sum(mix.values())
        drawn = rng.choice(list(mix), size=data.per_story, p=fractions)
        plan = [(str(kind), asked[int(rng.integers(len(asked)))]) for kind in drawn]
    else:
        plan = [(kind, question) for kind in kinds for question in asked]
        plan = plan[: 2 * len(TYPES) * len(kinds)]
    rows: defaultdict[str, list[Any]] = defaultdict(list)
    for kind, question in plan:
        text, prompt, target, answer = _example(kind, story, question, rng)
        words = tokenizer.encode(text)[: data.story_length]
        rows["story"].append(pad(words, data.story_length))
        rows["story_mask"].append(np.arange(data.story_length) < len(words))
        asks = tokenizer.encode(prompt)[: data.prompt_length]
        rows["prompt"].append(pad(asks, data.prompt_length))
        rows["prompt_mask"].append(np.arange(data.prompt_length) < len(asks))
        rows["target"].append(pad([*tokenizer.encode(target), tokenizer.eos_id], data.target_length))
        rows["option_of"].append(_option_of(asks, data.prompt_length, tokenizer))
        rows["answer"].append(answer)
        rows["type"].append(TYPES.index(question.type))
        rows["valid"].append(True)
    if kinds is not None:  # a fixed number of rows for every story
        missing = 2 * len(TYPES) * len(kinds) - len(plan)
        for column in rows.values():
            column.extend([np.zeros_like(column[0])] * missing)
    return {name: np.stack([np.asarray(value) for value in column]) for name, column in rows.items()}


def _option_of(prompt: list[int], length: int, tokenizer: Tokenizer) -> np.ndarray:
    """The option (0-based) whose letter or words are at each position of a padded prompt; -1 for none (l,)."""
    (option,), (end,) = tokenizer.encode("option"), tokenizer.encode("considering")
    starts = [index for index, word in enumerate(prompt) if word == option]
    stop = prompt.index(end) if end in prompt else len(prompt)
    positions = np.full(length, -1, np.int32)
    for index, start in enumerate(starts if len(starts) == OPTIONS else []):
        positions[start:stop] = index
    return positions


def _example(kind: str, story: Story, question: Question, rng: np.random.Generator) -> tuple[str, str, str, int]:
    """(story text, prompt, target text, index of the right option or -1)."""
    prompt = question_prompt(question.question, question.options)
    right = question.options[question.answer]
    name = option_names(len(question.options))[question.answer]
    target = f"{name} {right}" if rng.random() < 0.5 else name
    if kind == "full":
        return notes(story), prompt, target, question.answer
    if kind == "evidence":
        return _evidence(story, question), prompt, target, question.answer
    if kind == "window":
        return _window(story, question, rng), prompt, target, question.answer
    if kind == "caption":
        event = story.events[int(rng.integers(len(story.events)))]
        if rng.random() < 0.1:
            return cast_note(story), caption_prompt(event.start, event.end), cast_sentence(story), -1
        return note(event), caption_prompt(event.start, event.end), sentence(event), -1
    return "", question_prompt(f"Which option is {right}?", question.options), target, question.answer


def _evidence(story: Story, question: Question) -> str:
    """The note that answers the question, as a resampler is trained to write it: the part of the person asked about."""
    all_notes = [note(event) for event in story.events]
    if question.about is None or question.evidence not in all_notes:
        return question.evidence
    return part_note(story.events[all_notes.index(question.evidence)], question.about)


def _window(story: Story, question: Question, rng: np.random.Generator) -> str:
    """Notes of the event that answers the question and of those next to it; for a count, the list of people."""
    all_notes = [note(event) for event in story.events]
    if question.evidence not in all_notes:
        return question.evidence
    centre = all_notes.index(question.evidence)
    return " ".join(all_notes[max(0, centre - 1) : centre + 2])


def _finish(sums: dict[str, Any], kinds: tuple[str, ...]) -> dict[str, float]:
    """Accuracy by kind of text, over all questions and by type of question."""
    right, asked = sums["right"], sums["asked"]
    results = {}
    for index, kind in enumerate(kinds):
        results[f"reading/{kind}_acc"] = float(right[index].sum() / asked[index].sum())
        for column, name in enumerate(TYPES):
            results[f"reading/{kind}_acc_{name}"] = float(right[index, column] / max(asked[index, column], 1))
    return results


def _evaluator(reader: Reader, data: ReadingData, tokenizer: Tokenizer) -> Evaluator:
    kinds = data.mix.asked()

    def load(seed: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        batch = load_examples(seed, rng, data, tokenizer, kinds=kinds)
        # Rows of the first kind come first, padding last, so a row's kind follows from its index.
        asked = int(batch["valid"].sum()) // len(kinds)
        kind = np.minimum(np.arange(len(batch["type"])) // asked, len(kinds) - 1)
        return {**batch, "kind": kind.astype(np.int32)}

    source = StorySeeds(data.first_validation_story, data.validation_stories)
    return summing_evaluator(
        "reading", lambda spec: eval_stream(source, load, spec), reader.eval_step, lambda sums: _finish(sums, kinds)
    )


def exports(llm: T5, input_length: int, target_length: int) -> dict[str, Export]:
    """Returns the language model as a function of padded texts of a fixed length."""

    def logits(params: Params, ids: Int[Array, "b l"], decoder_ids: Int[Array, "b m"]) -> dict[str, Array]:
        found: Any = llm.apply({"params": params["llm"]}, ids, ids != llm.config.pad_id, decoder_ids)
        return {"logits": found}

    inputs = {
        "ids": Input(f"b, {input_length}", jnp.int32, "token ids of the text, padded behind with 0"),
        "decoder_ids": Input(f"b, {target_length}", jnp.int32, "the start token, then the answer's token ids so far"),
    }
    outputs = {"logits": "of the token after each of decoder_ids (b, m, vocabulary)"}
    about = "Scores each token as the next one of an answer."
    return {"logits": Export(logits, about, inputs, outputs, uses="llm/.*")}


@dataclass(frozen=True)
class T5Data(ReadingData):
    """Reading, and what is trained beside it or instead of it.

    Attributes:
        auxiliary_tasks: more tasks, of sequences, by name.
        copy_checkpoint: a run to start from, whose decoder is first given an induction head; None starts as the
            config's `init` says.
    """

    auxiliary_tasks: dict[str, SequenceData] = field(default_factory=dict)
    copy_checkpoint: str | None = None


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/storyworld_t5.py`."""
    tokenizer = WordTokenizer.from_words(vocabulary())
    model = from_config(T5Config, {**config.model, "vocab_size": tokenizer.vocab_size}, "config.model")
    data = from_config(T5Data, config.data, "config.data")
    reader = Reader(model, data, tokenizer)
    load = functools.partial(load_examples, data=data, tokenizer=tokenizer)
    source = StorySeeds(data.first_story, data.stories)

    def stories(spec: StreamSpec) -> Stream:
        return train_stream(source, load, spec, workers=data.workers)

    reading = [Task("reading", stories, reader.loss, weight=data.weight)] if data.weight else []
    auxiliary = [sequence_task(name, section, reader, tokenizer) for name, section in data.auxiliary_tasks.items()]
    checkpoint = data.copy_checkpoint

    def pretrained() -> dict[str, np.ndarray]:
        assert checkpoint is not None
        loaded = load_saved(checkpoint)
        return with_induction_head({path: array for path, array in loaded.items() if path.startswith("llm/")}, model)

    return Experiment(
        name="embedded.t5",
        init=reader.init,
        pretrained=pretrained if checkpoint else None,
        # The embedding that words share with a resampler's outputs stays at its initial values.
        trainable="(llm/(?!shared/)|pointer/).*",
        drawn="llm/shared/.*",
        tasks=(*reading, *(task for task, _ in auxiliary)),
        evaluators=(_evaluator(reader, data, tokenizer), *(evaluator for _, evaluator in auxiliary)),
        units="stories",
        steps_per_epoch=lambda: data.stories // config.train.batch_size,
        exports=exports(reader.llm, data.story_length + data.prompt_length, data.target_length),
    )
