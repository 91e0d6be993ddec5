"""Asking a TCR about a video: `Predictor.from_pretrained(...).ask(video, question, options)`.

What a person gets is what evaluation gets: frames are sampled at the same times, and question, options and answers are
put to the model in the same words (thesis §3.3.2).
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from storyjax.core.errors import StoryjaxError
from storyjax.data.prompts import LETTERS, caption_prompt, option_names, question_prompt
from storyjax.data.text import Tokenizer, WordTokenizer
from storyjax.models.answer_scoring import sequence_log_likelihood
from storyjax.models.t5 import T5
from storyjax.models.t5_decoding import GREEDY, Decoding, generate
from storyjax.tcr.answer import Answer
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer
from storyjax.tcr.loaded_video import LoadedVideo
from storyjax.tcr.loader import answer_ids
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.qformer_baseline import answering, check_frames
from storyjax.train.experiment import Batch, Params
from storyjax.train.restore import open_trained

DEFAULT = "shipped:tcr_nextqa_storyworld"
FRAMES = 32  # where a checkpoint does not say how many it was trained on
LONGEST_ANSWER = 24  # tokens of a free answer


class Predictor:
    """A TCR between its frozen towers, ready to be asked. Programs are compiled once for each shape.

    Attributes:
        source: where its weights are from, for people.
        frames: frames it looks at, unless `ask` says otherwise.
        condition_length: tokens of the question that the resampler reads.
        decoding: how free answers are decoded.
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
        decoding: Decoding = GREEDY,
    ):
        self.model, self.params, self.tokenizer = model, params, tokenizer
        self.source, self.frames, self.decoding = source, frames, decoding
        longest = model.resampler.sizes.max_prompt
        self.condition_length = min(condition_length or longest, longest)
        self._programs: dict[tuple[int, int, Decoding], Callable[..., Any]] = {}

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
        return self.ask_all(video, [question], options, frames, video_track)[0]

    def ask_all(
        self,
        video: str | os.PathLike[str],
        questions: Sequence[str],
        options: Sequence[str] | None = None,
        frames: int | None = None,
        video_track: int | None = None,
        segment: tuple[float, float] | None = None,
    ) -> list[Answer]:
        """Returns the answers to several questions about a video, in their order; its frames are decoded once.

        Arguments and errors are those of `ask`; the options are the same for every question. `segment`: the only part
        that is looked at, in seconds; None: all of the video.
        """
        asked, choices = [question.strip() for question in questions], _checked_options(options)
        if not all(asked):
            raise StoryjaxError("the question is empty: ask something, for instance 'what did ana do ?'")
        loaded = self.load(video, frames, video_track, choices=bool(choices), segment=segment)
        batches, warnings = zip(*(self._batch(loaded, question, choices) for question in asked), strict=True)
        if not choices:
            return [
                loaded.answer(question, self.spell(ids), [probability], attention, (), None, told, self.method)
                for question, told, (ids, probability, attention) in zip(
                    asked, warnings, self.say(batches), strict=True
                )
            ]
        answers = []
        for question, told, (scores, attention) in zip(
            asked, warnings, self.choose(batches, len(choices)), strict=True
        ):
            probabilities = np.exp(np.asarray(scores, np.float64))
            chosen = int(probabilities.argmax())
            shares = probabilities / probabilities.sum()
            answers.append(
                loaded.answer(question, choices[chosen], shares, attention, choices, chosen, told, self.method)
            )
        return answers

    def load(
        self,
        video: str | os.PathLike[str],
        frames: int | None = None,
        video_track: int | None = None,
        *,
        choices: bool = False,
        segment: tuple[float, float] | None = None,
    ) -> LoadedVideo:
        """Returns a video decoded for this model.

        Args:
            video, frames, video_track: see `ask`.
            choices: whether it is to choose between options.
            segment: to look at, in seconds; None: all of it.

        Raises:
            StoryjaxError: the video cannot be read, or the model cannot answer from so many frames.
        """
        count = self.frames if frames is None else frames
        if count < 1:
            raise StoryjaxError(f"{count} frames asked for: at least one must be looked at")
        check_frames(self.model, count, choices, f"--frames {count}")
        return LoadedVideo(video, count, self.model.vision.config.image_size, video_track, segment)

    def _batch(self, loaded: LoadedVideo, question: str, options: tuple[str, ...]) -> tuple[Batch, tuple[str, ...]]:
        """The video with one question, as `QuestionAnswering` takes it, and warnings."""
        condition = self.tokenizer.encode(question)
        prompt = question_prompt(question, options) if options else self._free_prompt(question, loaded)
        batch = loaded.batch("QA", condition, self.condition_length, self.prompt_ids(prompt))
        warnings = []
        unknown = self._unknown_words(" ".join([question, *options]))
        if unknown:
            warnings.append(f"the model does not know: {', '.join(unknown)}")
        if self.reads_question and len(condition) > self.condition_length:
            read = self.tokenizer.decode(condition[: self.condition_length])
            warnings.append(f"the question is long: where to look is decided by its beginning alone, '{read}'")
        if isinstance(self.tokenizer, WordTokenizer) and loaded.info.width != loaded.info.height:
            # StoryWorld's videos are square.
            warnings.append("this model has seen nothing but StoryWorld: what it says of another video is a guess")
        return batch, tuple(warnings)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Returns the token ids of what the language model is asked."""
        return self.tokenizer.encode(prompt)

    def _free_prompt(self, question: str, loaded: LoadedVideo) -> str:
        """What the language model is asked when there is nothing to choose from.

        A word-list model was brought up on captions (Fig. 3.5, task 1): the resampler, which read the question, says
        which moment; the language model describes it. A published one gets the question as BLIP-2 puts it.
        """
        if isinstance(self.tokenizer, WordTokenizer):
            return caption_prompt(*(loaded.segment or (0.0, loaded.duration)))
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

    def choose(self, batches: Sequence[Batch], options: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns of each batch, one video with one prompt, the log-probabilities of so many options (a,), and the
        fraction of the attention that each frame got (t,)."""
        program = self._program(options, batches[0]["frames"].shape[1])
        found = [program(self.params, batch) for batch in batches]
        return [(np.asarray(scores)[0, 0], np.asarray(attention)[0, 0]) for scores, attention in found]

    def say(self, batches: Sequence[Batch]) -> list[tuple[np.ndarray, float, np.ndarray]]:
        """Returns of each batch, one video with one prompt, what the language model says (ids), its probability, and
        the fraction of the attention that each frame got (t,)."""
        program = self._program(0, batches[0]["frames"].shape[1])
        found = [program(self.params, batch) for batch in batches]
        return [(np.asarray(ids), float(likely), np.asarray(attention)[0, 0]) for ids, likely, attention in found]

    def _program(self, options: int, frames: int) -> Callable[..., Any]:
        """The jitted program for so many options, 0 for free answers, and so many frames."""
        key, how = (options, frames, self.decoding), self.decoding
        if key not in self._programs:
            answers = answer_ids(self.tokenizer, options) if options else np.zeros((0, 0), np.int32)
            qa = answering(self.model, frames, lambda: answers, choices=options > 0)
            program = jax.jit(qa.scores if options else lambda params, batch: _say(qa, params, batch, how))
            self._programs[key] = program
        return self._programs[key]


def _say(
    qa: QuestionAnswering, params: Params, batch: Batch, decoding: Decoding
) -> tuple[Int[Array, " m"], Float[Array, ""], Float[Array, "b k t"]]:
    """What is said, its probability, and the attention each frame got."""
    encoded, mask, frame_attention = qa.encode(params, batch, None)
    ids, probability = say_encoded(qa.model.llm, params["llm"], encoded, mask, decoding)
    assert frame_attention is not None  # it was asked for
    return ids[0], probability[0], frame_attention


def say_encoded(
    llm: T5, params: Params, encoded: Float[Array, "b s w"], mask: Bool[Array, "b s"], decoding: Decoding
) -> tuple[Int[Array, "b m"], Float[Array, " b"]]:
    """Returns the tokens that a language model says to encoder states, and the probability of all of them."""
    ids = generate(llm, params, encoded, mask, LONGEST_ANSWER, decoding)
    return ids, jnp.exp(sequence_log_likelihood(llm, params, encoded, mask, ids)[0])


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
