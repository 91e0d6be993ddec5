"""Evaluators of the tasks: what a model answers, and the metric of its data set (storyjax/metrics/)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Float, Int

from storyjax.data.prompts import action_pair
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer, pad
from storyjax.metrics.anticipation import complete, edit_distances
from storyjax.metrics.captioning import cider
from storyjax.metrics.choices import choice_sums
from storyjax.metrics.grounding import (
    Detection,
    Span,
    constant_answers,
    moment_queries,
    query_recall,
    temporal_iou,
    tiles,
)
from storyjax.models.answer_scoring import score_answers
from storyjax.models.t5 import T5
from storyjax.models.t5_decoding import generate
from storyjax.tcr.decoding import parse_actions, reduced_vocabulary, sample, sample_in_turn, spell
from storyjax.tcr.loader import FRAME_ARRAYS, GROUPS, TYPES, Ablation
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.tasks import Options, queried, spans_of, window
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Params, summing_evaluator

# What evaluation takes from its input, by the name that a config and its results have for it.
ABLATIONS = {
    "none": Ablation(condition="none"),
    "corrupt": Ablation(condition="corrupt"),
    "shuffled": Ablation(order="shuffled"),
    "no_video": Ablation(video=False),
    "twice": Ablation(passes=2),
    "two_shots": Ablation(shots=2),
}
# Of anticipation: the language model alone, and actions asked for one by one (`anticipation`).
VARIATIONS = ("text_only", "iterative")
# The temporal questions that turn on a word which can be swapped for its opposite (§3.3.5).
ORDER = ("TN", "TP")


def accuracy_ratios(sums: dict[str, Any], prefix: str = "nextqa") -> dict[str, tuple[Any, Any]]:
    """Returns (right, asked) of "nextqa/acc", "nextqa/acc_causal" ... "nextqa/acc_TN", and "nextqa/acc_order" of
    questions for what came before or after.

    The overall accuracy is over questions, not over types (Table 3.2, caption).

    Args:
        sums: of `QuestionAnswering.eval_step`, of NumPy or traced.
        prefix: in the place of "nextqa".
    """
    groups = {**GROUPS, "order": ORDER}
    cells = {"": TYPES, **{f"_{group}": types for group, types in groups.items()}, **{f"_{t}": (t,) for t in TYPES}}
    places = {f"{prefix}/acc{suffix}": np.isin(TYPES, types) for suffix, types in cells.items()}
    return {name: (sums["right"][place].sum(), sums["asked"][place].sum()) for name, place in places.items()}


def accuracies(sums: dict[str, Any], prefix: str = "nextqa") -> dict[str, float]:
    """Returns the ratios of `accuracy_ratios`, less those of types that were not asked for."""
    ratios = accuracy_ratios(sums, prefix)
    # A model that has collapsed to one letter shows here: 1 / options is even, 1 is a collapse.
    most = {f"{prefix}/most_chosen": float(sums["chosen"].max() / max(sums["chosen"].sum(), 1))}
    return {name: float(right / asked) for name, (right, asked) in ratios.items() if asked} | most


Data = Callable[[StreamSpec], Iterable[Batch]]
# (index of an item) -> (columns of its video, numbers of its examples): what was asked, for scores made on the host.
Asked = Callable[[int], tuple[dict[str, list], Sequence[int]]]


@dataclass(frozen=True)
class Timestamps:
    """The timestamps 1 to n of a video as a language model begins to say them.

    A target lists several in no order (tasks.py), so the first alone says where the moments are, whatever follows it,
    and no end token belongs to it.

    Attributes:
        words: token ids of each, padded (n, m).
        within: which are the beginning of a longer one, as "1" may be of "1 20" (n, n): [longer, shorter].
    """

    words: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer, bins: int) -> "Timestamps":
        """Returns the timestamps 1 to `bins`."""
        rows = [tuple(tokenizer.encode(str(number))) for number in range(1, bins + 1)]
        longest, place = max(map(len, rows)), {row: index for index, row in enumerate(rows)}
        within = np.zeros((bins, bins), np.float32)
        for index, row in enumerate(rows):
            shorter = next((row[:size] for size in range(len(row) - 1, 0, -1) if row[:size] in place), None)
            if shorter is not None:
                within[index, place[shorter]] = 1.0
        return cls(np.stack([pad(list(row), longest) for row in rows]), within)

    def first(self, scores: Float[Array, "r n"]) -> Float[Array, "r n"]:
        """Returns how likely each is the first number said (they sum to one), of `score_answers` of the words."""
        said = jnp.exp(scores)
        alone = jnp.maximum(said - said @ jnp.asarray(self.within), 0.0)
        return alone / jnp.sum(alone, axis=-1, keepdims=True)


def questions(name: str, data: Data, qa: QuestionAnswering, batch_spec: BatchSpec | None) -> Evaluator:
    """Returns the evaluator of multiple choice by types of questions (Table 3.2); `qa` knows the answers."""
    further = {"sequences": FRAME_ARRAYS, "batch_spec": batch_spec, "ratios": lambda sums: accuracy_ratios(sums, name)}
    return summing_evaluator(name, data, qa.eval_step, lambda sums: accuracies(sums, name), **further)


def choice(name: str, data: Data, qa: QuestionAnswering) -> Evaluator:
    """Returns the evaluator of accuracy over a closed vocabulary; `qa` knows the answers."""

    def eval_step(params: Params, batch: Batch) -> dict[str, Array]:
        scores, _ = qa.scores(params, batch, attention=False)
        return choice_sums(scores, batch["answer"], batch["valid"] & batch["record_valid"][:, None])

    def compute(sums: dict[str, Any]) -> dict[str, float]:
        return {
            f"{name}/acc": float(sums["right"] / max(sums["asked"], 1)),
            f"{name}/most_chosen": float(sums["chosen"].max() / max(sums["chosen"].sum(), 1)),
        }

    ratios = {"ratios": lambda sums: {f"{name}/acc": (sums["right"], sums["asked"])}}
    return summing_evaluator(name, data, eval_step, compute, sequences=FRAME_ARRAYS, **ratios)


def _rows(batch: Batch, asked: Asked) -> Iterable[tuple[int, int, dict[str, list], int]]:
    """(place in the batch, place among its examples, the video's columns, number of the example) of what is real."""
    for place, (index, real) in enumerate(zip(batch["index"], batch["record_valid"], strict=True)):
        if real:
            columns, numbers = asked(int(index))
            for column, number in enumerate(numbers):
                if batch["valid"][place, column]:
                    yield place, column, columns, number


def captions(
    name: str, data: Data, qa: QuestionAnswering, tokenizer: Callable[[], Tokenizer], asked: Asked, length: int
) -> Evaluator:
    """Returns the evaluator of greedy captions by CIDEr-D.

    The references are all of the video's captions, or the example's own sentence.
    """

    def eval_step(params: Params, batch: Batch) -> Array:
        encoded, mask, _ = qa.encode(params, batch, None, attention=False)
        ids = generate(qa.model.llm, params["llm"], encoded, mask, length)
        return rearrange(ids, "(b k) m -> b k m", b=batch["task"].shape[0])

    def accumulate(acc: Any, ids: np.ndarray, batch: Batch) -> Any:
        acc = acc or []
        for place, column, columns, number in _rows(batch, asked):
            references = columns["caption"] if "caption" in columns else [columns["sentence"][number]]
            acc.append((spell(tokenizer(), ids[place, column]), list(references)))
        return acc

    def compute(acc: Any) -> dict[str, float]:
        said, references = zip(*acc, strict=True)
        return {
            f"{name}/cider": cider(said, references)[0],
            f"{name}/different": len(set(said)) / len(said),
        }

    return Evaluator(name, data, eval_step, accumulate, compute, sequences=FRAME_ARRAYS)


Action = tuple[str, str]  # verb and noun


@dataclass(frozen=True)
class Actions:
    """The label space of anticipation, and how candidates are drawn."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    candidates: int
    temperature: float
    text_only: bool = False
    iterative: bool = False


@dataclass(frozen=True)
class ActionDecoder:
    """Draws sequences of actions to come: the likeliest one first, then random ones.

    With `Actions.iterative` actions are asked for one by one (the starred rows of Table 3.4). With `Actions.text_only`
    the language model reads the actions so far and nothing of the video (the baseline of §3.3.4).

    Attributes:
        length: tokens of a sequence.
        space: gives the label space when it is first needed.
    """

    qa: QuestionAnswering
    tokenizer: Callable[[], Tokenizer]
    length: int
    options: Options
    space: Callable[[], Actions]

    def allowed(self) -> np.ndarray:
        """Returns which tokens occur in actions of the label space (v,)."""
        verbs, nouns = self.space().verbs, self.space().nouns
        said = [action_pair(verb, nouns[0], self.options.brackets) for verb in verbs]
        said += [action_pair(verbs[0], noun, self.options.brackets) for noun in nouns]
        texts = [*said, f"{said[0]}, {said[0]}"]
        return reduced_vocabulary(self.tokenizer(), texts, self.qa.model.llm.config.vocab_size)

    def closing(self) -> np.ndarray:
        """Returns which tokens end an action (v,)."""
        mark = ")" if self.options.brackets else ","
        ends = np.zeros(self.qa.model.llm.config.vocab_size, bool)
        kept = np.flatnonzero(self.allowed())
        ends[[token for token in kept if mark in self.tokenizer().decode([int(token)])]] = True
        return ends

    def eval_step(self, params: Params, batch: Batch) -> Int[Array, "b k c m"]:
        """Returns the token ids of c candidates for each example."""
        llm, options, length = self.qa.model.llm, self.options, self.length
        actions, words_allowed = self.space(), jnp.asarray(self.allowed())
        prompt, prompt_mask = (rearrange(batch[key], "b k p -> (b k) p") for key in ("prompt", "prompt_mask"))
        encode, count = self._encoder(params, batch), actions.candidates
        keys = jax.random.split(jax.random.key(0), count)
        temperatures = [actions.temperature * (number > 0) for number in range(count)]
        if actions.iterative:  # the candidates' prompts become different ones
            each, each_mask = (repeat(x, "r p -> (r c) p", c=count) for x in (prompt, prompt_mask))
            piece, stops = max(1, length // options.future), jnp.asarray(self.closing())
            asked = (encode, llm, params["llm"], each, each_mask, options.future, piece)
            drawn = sample_in_turn(*asked, words_allowed, stops, keys, temperatures)
        else:
            seen = encode(prompt, prompt_mask)
            drawn = sample(llm, params["llm"], *seen, length, words_allowed, keys, temperatures, each=count)
        return rearrange(drawn, "(b k c) m -> b k c m", b=batch["task"].shape[0], c=count)

    def _encoder(self, params: Params, batch: Batch) -> Callable[[Array, Array], tuple[Array, Array]]:
        """(prompt, its mask) -> the language model's encoder states and their mask, of (b k) rows, or (b k c) of c
        candidates."""
        qa, llm = self.qa, self.qa.model.llm
        queries = None if self.space().text_only else qa.encode_video(params, batch, None, attention=False).queries

        def encode(words: Array, mask: Array) -> tuple[Array, Array]:
            if queries is not None:
                shape = {"b": batch["task"].shape[0]}
                each = [rearrange(x, "(b k) p -> b k p", **shape) for x in (words, mask)]
                seen = repeat(queries, "b k q w -> b (k c) q w", c=each[0].shape[1] // queries.shape[1])
                return qa.model.encode(params, seen, *each)
            embedded = llm.apply({"params": params["llm"]}, words, method=T5.embed)
            return cast(Array, llm.apply({"params": params["llm"]}, embedded, mask, method=T5.encode)), mask

        return encode


def anticipation(name: str, data: Data, decoder: ActionDecoder, asked: Asked) -> Evaluator:
    """Returns the evaluator of edit distances of the best of several candidates: the likeliest one, and drawn ones.

    "repeated_*" is what saying the last observed action over and over reaches, "cycled_*" all observed ones in turn.
    """
    tokenizer, options = decoder.tokenizer, decoder.options

    def accumulate(acc: Any, ids: np.ndarray, batch: Batch) -> Any:
        acc = acc or []
        for place, column, columns, number in _rows(batch, asked):
            every = list(zip(columns["verb"], columns["noun"], strict=True))
            observed, truth = ([every[i] for i in part] for part in window(columns, number, options))
            actions = decoder.space()
            drawn = [parse_actions(spell(tokenizer(), row), actions.verbs, actions.nouns) for row in ids[place, column]]
            # Where nothing that was said is an action, the last observed one goes on.
            candidates = [_complete(one, options.future, observed[-1]) for one in drawn]
            swapped = edit_distances(candidates, truth, transpositions=True)
            again = edit_distances([_complete([], options.future, observed[-1])], truth)
            cycled = edit_distances([_complete(observed * options.future, options.future, observed[-1])], truth)
            acc.append(
                {
                    **{f"repeated_{key}_ed": value for key, value in again.items()},
                    **{f"cycled_{key}_ed": value for key, value in cycled.items()},
                    **{f"{key}_ed": value for key, value in edit_distances(candidates, truth).items()},
                    **{f"{key}_ed_damerau": value for key, value in swapped.items()},
                    "unparsed": float(np.mean([not one for one in drawn])),
                }
            )
        return acc

    def compute(acc: Any) -> dict[str, float]:
        return {f"{name}/{key}": float(np.mean([one[key] for one in acc])) for key in acc[0]}

    return Evaluator(name, data, decoder.eval_step, accumulate, compute, sequences=FRAME_ARRAYS)


def _complete(actions: list[Action], length: int, last: Action) -> list[Action]:
    return cast(list[Action], complete(actions, length, last))


def first_numbers(
    qa: QuestionAnswering, stamps: Timestamps, params: Params, batch: Batch, attention: bool = True
) -> tuple[Float[Array, "b k n"], Float[Array, "b k t"] | None]:
    """Returns how likely each timestamp is the first that is said, and the attention each frame got, if wanted."""
    encoded, mask, frame_attention = qa.encode(params, batch, None, attention)
    scores = score_answers(qa.model.llm, params["llm"], encoded, mask, jnp.asarray(stamps.words))
    return rearrange(stamps.first(scores), "(b k) n -> b k n", b=batch["task"].shape[0]), frame_attention


def detections(likely: Float[np.ndarray, " n"], duration: float, most: int = 20) -> list[Detection]:
    """Returns segments of a distribution over timestamps 1 to n of a video, the surest first.

    Stamps that get at least a fraction of the most likely one's probability are joined where they are neighbours, for
    several such fractions; a segment is as sure as its mean probability, and of two that overlap by more than half the
    surer stays.
    """
    found: list[Detection] = []
    step = duration / len(likely)
    for fraction in (0.75, 0.5, 0.25, 0.1):
        strong = np.concatenate([[False], likely >= fraction * likely.max(), [False]])
        edges = np.flatnonzero(np.diff(strong.astype(int)))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            found.append(Detection(float(first * step), float(end * step), float(likely[first:end].mean())))
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.score):
        spans = np.array([(other.start, other.end) for other in kept]).reshape(-1, 2)
        if temporal_iou(np.array([(one.start, one.end)]), spans).max(initial=0.0) <= 0.5:
            kept.append(one)
    return kept[:most]


def moments(
    name: str, data: Data, qa: QuestionAnswering, stamps: Callable[[], Timestamps], asked: Asked, kind: str
) -> Evaluator:
    """Returns the evaluator of moment queries (`kind` "mq") or language queries ("nlq") by timestamps (§3.3.4)."""

    def eval_step(params: Params, batch: Batch) -> Array:
        likely, _ = first_numbers(qa, stamps(), params, batch, attention=False)
        return likely

    return timed(name, data, eval_step, asked, kind)


# The metrics that chance level is given of.
_HEADLINES = {"mq": ("avg_map", "recall_1x_0.5"), "nlq": ("mr@1", "mr@5")}


def timed(
    name: str,
    data: Data,
    eval_step: Callable[[Params, Batch], Array],
    asked: Asked,
    kind: str,
    detect: Callable[[np.ndarray, float], list[Detection]] = detections,
) -> Evaluator:
    """Returns an evaluator of moments.

    "unseen_*" is what the best constant answers reach, or a video cut into equal pieces: chance level.

    Args:
        detect: (what was measured of an example, the video's seconds) -> detections.
    """

    def accumulate(acc: Any, measured: np.ndarray, batch: Batch) -> Any:
        acc = acc or []
        for place, column, columns, number in _rows(batch, asked):
            duration = float(batch["duration"][place])
            found = detect(measured[place, column], duration)
            label = queried(columns)[number] if kind == "mq" else ""
            spans = spans_of(columns, number, duration, moments=kind == "mq")
            acc.append((f"{int(batch['index'][place])}", label, found, spans, duration))
        return acc

    def compute(acc: Any) -> dict[str, float]:
        if kind == "nlq":
            answers: list[list[Span]] = [[(d.start, d.end) for d in detected] for _, _, detected, _, _ in acc]
            wanted = [spans[0] for _, _, _, spans, _ in acc]
            results = query_recall(answers, wanted)
            unseen = query_recall([constant_answers(wanted)] * len(wanted), wanted)
        else:
            found: dict[str, dict[str, list[Detection]]] = {}
            truth: dict[str, dict[str, list[Span]]] = {}
            cut: dict[str, dict[str, list[Detection]]] = {}
            length = float(np.mean([end - start for *_, spans, _ in acc for start, end in spans]))
            for video, label, detected, spans, duration in acc:
                found.setdefault(label, {})[video] = detected
                truth.setdefault(label, {})[video] = spans
                cut.setdefault(label, {})[video] = tiles(duration, length)
            results, unseen = moment_queries(found, truth), moment_queries(cut, truth)
        results |= {f"unseen_{key}": unseen[key] for key in _HEADLINES[kind]}
        return {f"{name}/{key}": value for key, value in results.items()}

    return Evaluator(name, data, eval_step, accumulate, compute, sequences=FRAME_ARRAYS)
