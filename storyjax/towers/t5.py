"""A small T5 that reads StoryWorld: story text and a question with options in, the answer out.

It learns on text alone, from stories told on the fly, in notes of eight words an event. Later it is frozen and reads
the outputs of a resampler in the place of a note's words, so it mostly reads single notes, with noise on them.

Five things make a model of this size learn to answer with option letters in minutes instead of hours: words of a note
carry a mark, so that they are not mistaken for the same words in a prompt (T5 has no absolute positions); the
encoder starts by looking for equal words and for near ones (`Reader.init`); half of the answers go
on with the option's words, which the decoder learns to find first; linear pointers, not part of the T5, have the
encoder mark the words and the letter of the right option; and the input embeddings stay as they were drawn, which also
lets a resampler be aligned to them before the reading is learnt.
"""

import functools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from storyjax.configuration import from_config
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.prompts import caption_prompt, option_names, question_prompt
from storyjax.data.text import Tokenizer, WordTokenizer, pad
from storyjax.nn.closed_vocabulary import score_answers, sequence_log_likelihood
from storyjax.nn.t5 import T5, T5Config, shift_right
from storyjax.storyworld.language import cast_note, cast_sentence, note, notes, part_note, sentence
from storyjax.storyworld.questions import OPTIONS, TYPES, Question, questions
from storyjax.storyworld.story import Story, tell
from storyjax.storyworld.vocabulary import NOTE_MARK, vocabulary
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import (
    Batch,
    Evaluator,
    Experiment,
    Export,
    Input,
    Params,
    StreamSpec,
    Task,
    summing_evaluator,
)


@dataclass(frozen=True)
class ReadingMix:
    """How often each exercise comes up.

    full: the whole story and a question. evidence: the one note that answers it. window: the events around it.
    caption: one note, to be told as a sentence. find: no story, the option that the question spells out.
    """

    full: float = 0.0
    evidence: float = 0.85
    window: float = 0.0
    caption: float = 0.15
    find: float = 0.0

    def asked(self) -> tuple[str, ...]:
        """The ways of reading a story that are trained, in the order of validation's rows."""
        return tuple(kind for kind in ("evidence", "window", "full") if getattr(self, kind))


@dataclass(frozen=True)
class ReadingData:
    """Stories and how they are read; lengths in tokens.

    Attributes:
        first_story: seed of the first training story; validation uses seeds from `first_validation_story` on.
        per_story: exercises drawn from one story.
        noise: largest standard deviation of the noise on story embeddings, relative to theirs.
        weight: of the loss on these exercises; 0: only those of `config.data.practice` are trained.
    """

    stories: int = 2_000_000
    first_story: int = 50_000_000
    validation_stories: int = 100
    first_validation_story: int = 40_000_000
    per_story: int = 8
    story_length: int = 8
    prompt_length: int = 62
    target_length: int = 15
    noise: float = 0.5
    weight: float = 1.0
    workers: int = 0
    mix: ReadingMix = field(default_factory=ReadingMix)


class StorySeeds:
    """A random-access source whose records are story seeds."""

    def __init__(self, first: int, count: int):
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return self.first + int(index)


def load_exercises(
    seed: int, rng: np.random.Generator, data: ReadingData, tokenizer: Tokenizer, kinds: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """One story's exercises, padded: story (k, l), story_mask, prompt, prompt_mask, target, answer, type, valid.

    With `kinds` every question of the story is asked in each of these ways (for evaluation), else a mix is drawn.
    """
    story = tell(seed)
    asked = questions(story)
    if kinds is None:
        mix = {name: getattr(data.mix, name) for name in ("full", "evidence", "window", "caption", "find")}
        share = np.array(list(mix.values())) / sum(mix.values())
        drawn = rng.choice(list(mix), size=data.per_story, p=share)
        plan = [(str(kind), asked[int(rng.integers(len(asked)))]) for kind in drawn]
    else:
        plan = [(kind, question) for kind in kinds for question in asked]
        plan = plan[: 2 * len(TYPES) * len(kinds)]
    rows = defaultdict(list)
    for kind, question in plan:
        text, prompt, target, answer = _exercise(kind, story, question, rng)
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
    """For each place of a padded prompt the option (0-based) whose letter and words stand there; -1 for none (l,)."""
    (option,), (end,) = tokenizer.encode("option"), tokenizer.encode("considering")
    starts = [index for index, word in enumerate(prompt) if word == option]
    stop = prompt.index(end) if end in prompt else len(prompt)
    places = np.full(length, -1, np.int32)
    for index, start in enumerate(starts if len(starts) == OPTIONS else []):
        places[start:stop] = index
    return places


def _exercise(kind: str, story: Story, question: Question, rng: np.random.Generator) -> tuple[str, str, str, int]:
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
    """The note that answers it, as a resampler is taught to write it: the part of whom the question asks about."""
    told = [note(event) for event in story.events]
    if question.about is None or question.evidence not in told:
        return question.evidence
    return part_note(story.events[told.index(question.evidence)], question.about)


def _window(story: Story, question: Question, rng: np.random.Generator) -> str:
    """The event that holds the answer and those next to it; for a count, the list of people."""
    told = [note(event) for event in story.events]
    if question.evidence not in told:
        return question.evidence
    centre = told.index(question.evidence)
    return " ".join(told[max(0, centre - 1) : centre + 2])


class Reader:
    """The T5 with its loss and its scores on exercises."""

    def __init__(self, config: T5Config, data: ReadingData, tokenizer: Tokenizer):
        self.llm = T5(config)
        self.data = data
        (self.mark,) = tokenizer.encode(NOTE_MARK)
        self.answers = np.stack(
            [pad([*tokenizer.encode(name), tokenizer.eos_id], 4) for name in option_names(OPTIONS)]
        ).astype(np.int32)

    def init(self, key: jax.Array) -> Params:
        """Random parameters, but for what the encoder attends to at first.

        Its queries start as its keys, so equal words attend to each other; and its first two heads start by looking at
        the few words before and behind, which biases of the usual size would take thousands of steps to learn.
        """
        ids = jnp.zeros((1, 2), jnp.int32)
        params = self.llm.init(key, ids, ids == 0, ids)["params"]
        for name, block in params["encoder"].items():
            if name.startswith("block_"):
                block["attention"]["query"]["kernel"] = block["attention"]["key"]["kernel"] * self.llm.config.d_kv**-0.5
        table = params["encoder"]["relative_bias"]["embedding"]
        ahead = self.llm.config.relative_attention_num_buckets // 2
        near = jnp.zeros_like(table).at[1:5, 0].set(4.0).at[ahead + 1 : ahead + 5, 1].set(4.0)
        params["encoder"]["relative_bias"]["embedding"] = table + near
        width = self.llm.config.d_model
        return {"llm": params, "pointer": {"words": jnp.zeros((width,)), "letter": jnp.zeros((width,))}}

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Array, Array]:
        """Encoder states of [story; prompt] and their mask; with a key, noise is laid over the story."""
        variables = {"params": params["llm"]}
        embed = functools.partial(self.llm.apply, variables, method=T5.embed)
        story = embed(batch["story"]) + embed(jnp.full((1, 1), self.mark))
        prompt = embed(batch["prompt"])
        if key is not None:
            size, direction = jax.random.split(key)
            spread = jax.random.uniform(size, (len(story), 1, 1), maxval=self.data.noise) * jnp.std(story)
            story = story + spread * jax.random.normal(direction, story.shape)
        mask = jnp.concatenate([batch["story_mask"], batch["prompt_mask"]], axis=1)
        inputs = jnp.concatenate([story, prompt], axis=1)
        return self.llm.apply(variables, inputs, mask, method=T5.encode), mask

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Mean negative log-likelihood of the target's tokens, and of the right option where the encoder points."""
        batch = rows_of(batch)
        encoded, mask = self.encode(params, batch, key)
        likelihood, tokens = sequence_log_likelihood(self.llm, params["llm"], encoded, mask, batch["target"])
        asks = batch["answer"] >= 0
        answer = jnp.maximum(batch["answer"], 0)
        count = jnp.maximum(jnp.sum(asks), 1)
        parts = {"words": -jnp.sum(likelihood) / jnp.sum(tokens)}
        for name, pointed in self.pointed(params, batch, encoded).items():
            pointing = optax.softmax_cross_entropy_with_integer_labels(pointed, answer)
            parts[f"pointing_{name}"] = jnp.sum(pointing * asks) / count
            parts[f"pointed_{name}"] = jnp.sum((jnp.argmax(pointed, axis=-1) == answer) & asks) / count
        return parts["words"] + parts["pointing_words"] + parts["pointing_letter"], parts

    def decode(
        self, params: Params, target: Int[Array, "i m"], encoded: Float[Array, "i s d"], mask: Bool[Array, "i s"]
    ) -> Float[Array, "i m v"]:
        """Logits of each word of the targets, after the true ones before it."""
        ids = shift_right(target, self.llm.config)
        return self.llm.apply({"params": params["llm"]}, ids, encoded, mask, method=T5.decode)

    def pointed(self, params: Params, batch: Batch, encoded: Float[Array, "i s d"]) -> dict[str, Float[Array, "i o"]]:
        """Where the encoder points among the options: by the mean of an option's words, and by its letter alone."""
        states = encoded[:, batch["story"].shape[1] :]
        member = jax.nn.one_hot(batch["option_of"], OPTIONS, axis=1)
        share = member / jnp.maximum(jnp.sum(member, axis=-1, keepdims=True), 1)
        # An option's places start at the word "option"; its letter is the second.
        letter = jnp.argmax(member, axis=-1) + 1
        words = jnp.einsum("iol,ild,d->io", share, states, params["pointer"]["words"])
        at_letter = jnp.take_along_axis(states, letter[..., None], axis=1)
        return {"words": words, "letter": jnp.einsum("iod,d->io", at_letter, params["pointer"]["letter"])}

    def measure(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Sums over a batch: right and asked, by way of reading and question type."""
        valid = batch["valid"] & batch["record_valid"][:, None]
        batch = rows_of({**{name: batch[name] for name in batch if name != "record_valid"}, "valid": valid})
        encoded, mask = self.encode(params, batch, None)
        scores = score_answers(self.llm, params["llm"], encoded, mask, jnp.asarray(self.answers))
        right = (jnp.argmax(scores, axis=-1) == batch["answer"]) & batch["valid"]
        cell = (
            jax.nn.one_hot(batch["kind"], len(self.data.mix.asked()))[:, :, None]
            * jax.nn.one_hot(batch["type"], len(TYPES))[:, None]
        )
        return {
            "right": jnp.einsum("i,ikt->kt", right.astype(jnp.float32), cell),
            "asked": jnp.einsum("i,ikt->kt", batch["valid"].astype(jnp.float32), cell),
        }


def rows_of(batch: Batch) -> Batch:
    """Stories' exercises as one axis."""
    return {
        name: rearrange(jnp.asarray(value), "b k ... -> (b k) ...") for name, value in batch.items() if name != "index"
    }


def _finish(sums: dict[str, Any], kinds: tuple[str, ...]) -> dict[str, float]:
    """Accuracy by way of reading, over all questions and by type."""
    right, asked = sums["right"], sums["asked"]
    results = {}
    for index, kind in enumerate(kinds):
        results[f"reading/{kind}_acc"] = float(right[index].sum() / asked[index].sum())
        for place, name in enumerate(TYPES):
            results[f"reading/{kind}_acc_{name}"] = float(right[index, place] / max(asked[index, place], 1))
    return results


def _evaluator(reader: Reader, data: ReadingData, tokenizer: Tokenizer) -> Evaluator:
    kinds = data.mix.asked()

    def load(seed: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        batch = load_exercises(seed, rng, data, tokenizer, kinds=kinds)
        # Rows of the first kind come first, padding last: a row's kind is where it stands among the valid ones.
        asked = int(batch["valid"].sum()) // len(kinds)
        kind = np.minimum(np.arange(len(batch["type"])) // asked, len(kinds) - 1)
        return {**batch, "kind": kind.astype(np.int32)}

    source = StorySeeds(data.first_validation_story, data.validation_stories)
    return summing_evaluator(
        "reading", lambda spec: eval_stream(source, load, spec), reader.measure, lambda sums: _finish(sums, kinds)
    )


def exports(llm: T5, input_length: int, target_length: int) -> dict[str, Export]:
    """The language model on padded texts: its distances between words are those of a fixed length."""

    def logits(params: Params, ids: Int[Array, "b l"], decoder_ids: Int[Array, "b m"]) -> dict[str, Array]:
        return {"logits": llm.apply({"params": params["llm"]}, ids, ids != llm.config.pad_id, decoder_ids)}

    inputs = {
        "ids": Input(f"b, {input_length}", jnp.int32, "token ids of the text, padded behind with 0"),
        "decoder_ids": Input(f"b, {target_length}", jnp.int32, "the start token, then the answer's token ids so far"),
    }
    outputs = {"logits": "of the token after each of decoder_ids (b, m, vocabulary)"}
    about = "Tells how likely each token is to come next in an answer."
    return {"logits": Export(logits, about, inputs, outputs, uses="llm/.*")}


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/storyworld_t5.py`.

    `config.data.practice` names further exercises, and `config.data.begin` weights to go on from that are made ready to
    copy first (t5_practice.py).
    """
    # It reads notes by this module's Reader.
    from storyjax.towers.t5_practice import PracticeData, practice, ready_to_copy

    tokenizer = WordTokenizer.from_words(vocabulary())
    model = from_config(T5Config, {**config.model, "vocab_size": tokenizer.vocab_size}, "config.model")
    data = from_config(
        ReadingData, {k: v for k, v in config.data.items() if k not in ("practice", "begin")}, "config.data"
    )
    reader = Reader(model, data, tokenizer)
    load = functools.partial(load_exercises, data=data, tokenizer=tokenizer)
    source = StorySeeds(data.first_story, data.stories)

    def stories(spec: StreamSpec) -> Stream:
        return train_stream(source, load, spec, workers=data.workers)

    reading = [Task("reading", stories, reader.loss, weight=data.weight)] if data.weight else []
    further = [
        practice(name, from_config(PracticeData, section, f"config.data.practice.{name}"), reader, tokenizer)
        for name, section in config.data.get("practice", {}).items()
    ]
    begin = config.data.get("begin")

    def begun() -> dict[str, np.ndarray]:
        loaded = load_trainable(begin)
        return ready_to_copy({path: array for path, array in loaded.items() if path.startswith("llm/")}, model)

    return Experiment(
        name="towers.t5",
        init=reader.init,
        pretrained=begun if begin else None,
        # The embedding that words share with a resampler's outputs stays as it was drawn.
        trainable="(llm/(?!shared/)|pointer/).*",
        tasks=(*reading, *(one for one, _ in further)),
        evaluators=(_evaluator(reader, data, tokenizer), *(one for _, one in further)),
        units="stories",
        steps_per_epoch=lambda: data.stories // config.train.batch_size,
        exports=exports(reader.llm, data.story_length + data.prompt_length, data.target_length),
    )
