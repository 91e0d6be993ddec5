"""Asking a TCR about a video: `Predictor.from_pretrained(...).ask(video, question, options)`.

What a person gets is what evaluation gets: frames are sampled at the same times, and question, options and answers are
put to the model in the same words (thesis §3.3.2).
"""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.prompts import LETTERS, caption_prompt, option_names, question_prompt
from storyjax.data.text import Tokenizer, WordTokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.models.answer_scoring import sequence_log_likelihood
from storyjax.models.t5_decoding import generate
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer
from storyjax.tcr.loader import answer_ids
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.qformer_baseline import answering
from storyjax.tcr.resampler import TASK_TOKENS
from storyjax.train.experiment import Batch, Params
from storyjax.train.restore import open_trained

DEFAULT = "shipped:tcr_nextqa_storyworld"
FRAMES = 32  # where a checkpoint does not say how many it was trained on
LONGEST_ANSWER = 24  # tokens of a free answer
PROMPT_STEP = 32  # prompts are padded to a multiple of this, so that questions of about one length share a program


class Moment(NamedTuple):
    """A segment of a video, in seconds, and the fraction of all attention that fell on it (`share`)."""

    start_s: float
    end_s: float
    share: float


@dataclass(frozen=True)
class Answer:
    """What the model says, and where it looked.

    Attributes:
        video, question, options: what was asked; no options for a free answer.
        text: the answer in words.
        option: index of the chosen option, None for a free answer.
        probabilities: of each option, summing to one; of a free answer, the probability of its very words.
        moments: where it looked most, most first.
        attention: fraction of the attention that each frame got, in the order of time, summing to one.
        seconds: when each frame is on screen.
        duration_s: of the video.
        warnings: what a reader of the answer should know.
        video_track: the video track that was asked for, from 1; None: none was.
        method: what answered, for people.
    """

    video: str
    question: str
    options: tuple[str, ...]
    text: str
    option: int | None
    probabilities: tuple[float, ...]
    moments: tuple[Moment, ...]
    attention: tuple[float, ...]
    seconds: tuple[float, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    video_track: int | None = None
    method: str = "TCR"

    @property
    def probability(self) -> float:
        """The probability of what was answered."""
        return self.probabilities[self.option or 0]

    def thumbnails(self, chosen: Sequence[int] | None = None, height: int = 90) -> list[Image.Image]:
        """Returns small images of the frames looked at (or of those with the `chosen` indices), decoded when asked for.

        `height` in pixels; the aspect ratio is the video's.
        """
        times = sample_times(self.duration_s, len(self.attention))
        times = times if chosen is None else times[np.asarray(chosen, int)]
        images = []
        for start in range(0, len(times), 8):  # few at a time, for these are of the video's own size
            frames, _ = decode_frames(self.video, times[start : start + 8], None, track=self.video_track)
            width = max(1, round(frames.shape[2] * height / frames.shape[1]))
            images += [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
        return images

    def in_words(self) -> str:
        """Returns the text for a terminal: options with probabilities, the answer, and where the model looked."""
        lines = []
        width = min(60, max(map(len, self.options), default=0))
        for index, (option, probability) in enumerate(zip(self.options, self.probabilities, strict=False)):
            mark, bar = ">" if index == self.option else " ", "█" * round(20 * probability)
            lines.append(f"{mark} {LETTERS[index]}  {option:{width}}  {100 * probability:5.1f} %  {bar}".rstrip())
        letter = "" if self.option is None else f"{LETTERS[self.option]}, "
        lines.append(f"answer: {letter}{self.text} ({100 * self.probability:.1f} %)")
        end = self.duration_s
        looked = [f"{clock(m.start_s, end)} to {clock(m.end_s, end)} ({100 * m.share:.0f} %)" for m in self.moments]
        where = f"most at {', '.join(looked)}" if self.moments[0].share < 1 else "about evenly at all"
        lines.append(f"looked: {where} of {clock(end, end)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the answer for JSON: moments are objects, numbers have four or so digits."""

        def short(numbers: Sequence[float]) -> list[float]:
            return [round(number, 5) for number in numbers]

        fields = dataclasses.asdict(self) | {"probability": round(self.probability, 5)}
        for name in ("probabilities", "attention", "seconds"):
            fields[name] = short(fields[name])
        moments = [dict(zip(Moment._fields, short(moment), strict=True)) for moment in self.moments]
        return fields | {"moments": moments, "duration_s": round(self.duration_s, 3)}


def clock(seconds: float, duration_s: float) -> str:
    """Returns a time as people write it in a video of this length: 3.4 s, 0:42, 1:02:07."""
    if duration_s < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if duration_s >= 3600 else f"{minutes}:{rest:02d}"


def find_moments(attention: Sequence[float], duration_s: float, most: int = 3) -> tuple[Moment, ...]:
    """Returns where the attention is: neighbouring frames at least half-way from an even fraction to the largest.

    Each frame stands for its part of the video. Attention that is about even is one moment, the whole video.
    """
    fraction = np.asarray(attention, np.float64)
    fraction = fraction / fraction.sum()
    if fraction.max() < 1.5 / len(fraction):
        return (Moment(0.0, duration_s, 1.0),)
    strong = fraction >= (fraction.max() + 1 / len(fraction)) / 2
    edges = np.flatnonzero(np.diff(np.concatenate([[False], strong, [False]]).astype(int)))
    step = duration_s / len(fraction)
    found = [
        Moment(float(first * step), float(end * step), float(fraction[first:end].sum()))
        for first, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    return tuple(sorted(found, key=lambda moment: -moment.share)[:most])


class Predictor:
    """A TCR between its frozen towers, ready to be asked. Programs are compiled once for each shape.

    Attributes:
        source: where its weights are from, for people.
        frames: frames it looks at, unless `ask` says otherwise.
        condition_length: tokens of the question that the resampler reads.
        method: what answers, for people.
        reads_question: whether where it looks depends on the question.
    """

    method, reads_question = "TCR", True

    def __init__(
        self,
        model: VideoLanguageModel,
        params: Params,
        tokenizer: Tokenizer,
        *,
        source: str,
        frames: int = FRAMES,
        condition_length: int | None = None,
    ):
        self.model, self.params, self.tokenizer = model, params, tokenizer
        self.source, self.frames = source, frames
        longest = model.resampler.sizes.max_prompt
        self.condition_length = min(condition_length or longest, longest)
        self._programs: dict[tuple[int, int], Callable[..., Any]] = {}

    @classmethod
    def from_pretrained(
        cls, place: str | os.PathLike[str] | None = None, *, precision: str | None = None
    ) -> "Predictor":
        """Returns a predictor with a trained model.

        Args:
            place: a run's workdir, a folder with model.safetensors and config.json, "shipped:NAME" for weights that
                come with the package, or None for the fine-tuned TCR among those.
            precision: instead of the one that the run was trained with.

        Raises:
            StoryjaxError: there is nothing at `place`, it is of another model, or the towers' weights are not there.
        """
        trained = open_trained(
            place,
            default=DEFAULT,
            chapter="TCR",
            experiments=("tcr", "embedded.tcr_alignment"),
            parts=("vision", "llm", "tcr"),
            precision=precision,
        )
        config = trained.config
        model = make_model(config.model, trained.policy.name)
        params = trained.parameters(model.init, f"{model.resampler.name}/.*", frozen_towers(config.model))
        data = config.data.get("tasks", {}).get("nextqa", config.data)  # what ships says its lengths alone
        return cls(
            model,
            params,
            make_tokenizer(config.model),
            source=trained.source,
            frames=data.get("frames", FRAMES),
            condition_length=data.get("condition_length"),
        )

    def ask(
        self,
        video: str | os.PathLike[str],
        question: str,
        options: Sequence[str] | None = None,
        frames: int | None = None,
        video_track: int | None = None,
    ) -> Answer:
        """Returns the answer to a question about a video.

        Args:
            video: path of anything that FFmpeg reads.
            question: in words.
            options: two to eight answers to choose from; without them the language model answers freely.
            frames: how many frames to look at, spread evenly over the video.
            video_track: of the video, from 1; None: see `storyjax.data.containers.choose_track`.

        Raises:
            StoryjaxError: the video cannot be read, or the question, options or frames cannot be used.
        """
        question, options = question.strip(), _checked_options(options)
        count = self.frames if frames is None else frames
        if not question:
            raise StoryjaxError("the question is empty: ask something, for instance 'what did ana do ?'")
        if count < 1:
            raise StoryjaxError(f"{count} frames asked for: at least one must be looked at")
        info = probe(str(video), track=video_track)
        duration = info.duration_s
        size = self.model.vision.config.image_size
        images, seconds = decode_frames(str(video), sample_times(duration, count), size, track=video_track)
        batch, warnings = self._batch(images, seconds, question, options, duration)
        if isinstance(self.tokenizer, WordTokenizer) and info.width != info.height:  # StoryWorld's videos are square
            warnings += ("this model has seen nothing but StoryWorld: what it says of another video is a guess",)
        if options:
            scores, frame_attention = self._program(len(options), len(images))(self.params, batch)
            probabilities = np.exp(np.asarray(scores, np.float64)[0, 0])
            chosen = int(probabilities.argmax())
            text, probabilities = options[chosen], probabilities / probabilities.sum()
        else:
            ids, probability, frame_attention = self._program(0, len(images))(self.params, batch)
            chosen, text, probabilities = None, self.spell(np.asarray(ids)), np.asarray(probability)[None]
        attention = tuple(map(float, np.asarray(frame_attention)[0, 0]))
        return Answer(
            video=str(video),
            question=question,
            options=options,
            text=text,
            option=chosen,
            probabilities=tuple(map(float, probabilities)),
            moments=find_moments(attention, duration),
            attention=attention,
            seconds=tuple(map(float, seconds)),
            duration_s=duration,
            warnings=warnings,
            video_track=video_track,
            method=self.method,
        )

    def _batch(
        self, images: np.ndarray, seconds: np.ndarray, question: str, options: tuple[str, ...], duration: float
    ) -> tuple[Batch, tuple[str, ...]]:
        """One video with one question, as `QuestionAnswering` takes it, and warnings."""
        condition = self.tokenizer.encode(question)
        prompt = self.prompt_ids(
            question_prompt(question, options) if options else self._free_prompt(question, duration)
        )
        length = -(-len(prompt) // PROMPT_STEP) * PROMPT_STEP
        batch = {
            "frames": images,
            "seconds": seconds,
            "frame_mask": np.ones(len(images), bool),
            "task": np.array([TASK_TOKENS.index("QA")], np.int32),
            "condition": pad(condition, self.condition_length)[None],
            "condition_mask": np.arange(self.condition_length)[None] < len(condition),
            "prompt": pad(prompt, length)[None],
            "prompt_mask": np.arange(length)[None] < len(prompt),
        }
        warnings = []
        unknown = self._unknown_words(" ".join([question, *options]))
        if unknown:
            warnings.append(f"the model does not know: {', '.join(unknown)}")
        if self.reads_question and len(condition) > self.condition_length:
            read = self.tokenizer.decode(condition[: self.condition_length])
            warnings.append(f"the question is long: where to look is decided by its beginning alone, '{read}'")
        return {name: value[None] for name, value in batch.items()}, tuple(warnings)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Returns the token ids of what the language model is asked."""
        return self.tokenizer.encode(prompt)

    def _free_prompt(self, question: str, duration: float) -> str:
        """What the language model is asked when there is nothing to choose from.

        A word-list model was brought up on captions (Fig. 3.5, task 1): the resampler, which read the question, says
        which moment; the language model describes it. A published one gets the question as BLIP-2 puts it.
        """
        if isinstance(self.tokenizer, WordTokenizer):
            return caption_prompt(0.0, duration)
        return f"Question: {question} Short answer:"

    def _unknown_words(self, text: str) -> list[str]:
        """Words that a word-list tokenizer has no id for; published ones know all by their pieces."""
        if not isinstance(self.tokenizer, WordTokenizer):
            return []
        words = dict.fromkeys(re.findall(r"\w+|[^\w\s]", text.lower()))
        return [word for word in words if self.tokenizer.unk_id in self.tokenizer.encode(word)]

    def spell(self, ids: Int[np.ndarray, " m"]) -> str:
        """Returns the ids of a generated answer, end token and padding included, as text."""
        text = self.tokenizer.decode([int(index) for index in ids if int(index) != self.tokenizer.eos_id])
        return re.sub(r" ([.,?!:;])", r"\1", text).strip() or "(nothing)"

    def say(self, batch: Batch) -> tuple[np.ndarray, float, np.ndarray]:
        """Returns the likeliest words (ids) for a batch of one video and one prompt, their probability, and the
        fraction of the attention that each frame got (t,)."""
        ids, probability, frame_attention = self._program(0, batch["frames"].shape[1])(self.params, batch)
        return np.asarray(ids), float(probability), np.asarray(frame_attention)[0, 0]

    def _program(self, options: int, frames: int) -> Callable[..., Any]:
        """The jitted program for so many options, 0 for free answers, and so many frames."""
        if (options, frames) not in self._programs:
            answers = answer_ids(self.tokenizer, options) if options else np.zeros((0, 0), np.int32)
            qa = answering(self.model, frames, lambda: answers, choices=options > 0)
            program = jax.jit(qa.scores if options else lambda params, batch: _say(qa, params, batch))
            self._programs[options, frames] = program
        return self._programs[options, frames]


def _say(
    qa: QuestionAnswering, params: Params, batch: Batch
) -> tuple[Int[Array, " m"], Float[Array, ""], Float[Array, "b k t"]]:
    """The likeliest words one after the other, the probability of all of them, and the attention each frame got."""
    encoded, mask, frame_attention = qa.encode(params, batch, None)
    llm = qa.model.llm
    ids = generate(llm, params["llm"], encoded, mask, LONGEST_ANSWER)
    likelihood, _ = sequence_log_likelihood(llm, params["llm"], encoded, mask, ids)
    assert frame_attention is not None  # it was asked for
    return ids[0], jnp.exp(likelihood[0]), frame_attention


def _checked_options(options: Sequence[str] | None) -> tuple[str, ...]:
    if options is None:
        return ()
    options = tuple(option.strip() for option in options)
    if not 2 <= len(options) <= len(LETTERS):
        raise StoryjaxError(
            f"{len(options)} option{'s' * (len(options) != 1)} given: give 2 to {len(LETTERS)} to choose from,"
            " or none for a free answer"
        )
    for name, option in zip(option_names(len(options)), options, strict=True):
        if not option:
            raise StoryjaxError(f"{name} is empty: say what it is, or leave it out")
        if options.count(option) > 1:
            raise StoryjaxError(f"{name}, '{option}', is there twice: every option must be another")
    return options
