"""What a TCR can be asked beside questions: a caption of a segment, when something happens, what comes next, how often.

All give a `predict.Answer` without options; the words to the model are those of training (data/prompts.py).
"""

import functools
import os
import re
from dataclasses import replace

import jax
import numpy as np

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.prompts import anticipation_prompt, caption_prompt, moments_prompt
from storyjax.data.text import WordTokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.metrics.anticipation import ACTIONS_AHEAD
from storyjax.tcr.answer import Answer, clock, find_moments
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer
from storyjax.tcr.evaluators import Timestamps, detections, first_numbers
from storyjax.tcr.heads.clips import CountingHead
from storyjax.tcr.heads.config import CountingData
from storyjax.tcr.loaded_video import LoadedVideo, check_segment
from storyjax.tcr.loader import last_that_fit
from storyjax.tcr.predict import Predictor
from storyjax.tcr.qformer_baseline import answering
from storyjax.tcr.resampler import time_tokens
from storyjax.train.experiment import Batch
from storyjax.train.restore import open_trained

BINS = 1000  # timestamps of a video (§3.3.4)
# Shipped weights that know what the default ones of questions do not.
SHIPPED_AHEAD = "shipped:tcr_storyworld_practised"
SHIPPED_COUNTER = "shipped:tcr_countix_storyworld"


def parse_segment(text: str) -> tuple[float, float]:
    """Returns "6-8" as (6.0, 8.0) seconds. Raises StoryjaxError where it is not a time span."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
    if not found or float(found[1]) >= float(found[2]):
        raise StoryjaxError(f"--caption '{text}': give a segment in seconds, start before end, for instance 6-8")
    return float(found[1]), float(found[2])


def _batch(predictor: Predictor, loaded: LoadedVideo, task: str, condition: list[int], prompt: str) -> Batch:
    """The video with one prompt, as `QuestionAnswering` takes it."""
    return loaded.batch(task, condition, predictor.condition_length, predictor.tokenizer.encode(prompt))


def caption(
    predictor: Predictor,
    video: str | os.PathLike[str],
    start: float,
    end: float,
    frames: int | None = None,
    video_track: int | None = None,
) -> Answer:
    """Returns what happens from `start` to `end` seconds (Fig. 3.5, task 1).

    Raises:
        StoryjaxError: the video is shorter, or cannot be read.
    """
    loaded = predictor.load(video, frames, video_track)
    check_segment(loaded.video, start, end, loaded.duration)
    condition = time_tokens([start, end], predictor.model.resampler.sizes)
    batch = _batch(predictor, loaded, "CPN", condition, caption_prompt(start, end))
    ids, probability, attention = predictor.say([batch])[0]
    asked = f"what happens from {start:g} to {end:g} s"
    return loaded.answer(asked, predictor.spell(ids), [probability], attention)


def when(
    predictor: Predictor,
    video: str | os.PathLike[str],
    sentence: str,
    frames: int | None = None,
    video_track: int | None = None,
) -> Answer:
    """Returns when something happens.

    A published language model is asked for timestamps (§3.3.4), the likeliest of which are joined to a moment. A
    word-list one was never taught numbers of time: the answer is then where its resampler looks under the sentence,
    which is what it was aligned by (embedded/tcr_alignment.py).
    """
    if not sentence.strip():
        raise StoryjaxError("--when is empty: say what to look for, for instance 'ana danced'")
    loaded, own = predictor.load(video, frames, video_track), predictor
    if isinstance(own.tokenizer, WordTokenizer):
        asked = own.tokenizer.encode(sentence)
        batch = _batch(own, loaded, "CPN", asked, caption_prompt(0.0, loaded.duration))
        _, _, attention = own.say([batch])[0]
        moment = find_moments(tuple(map(float, attention)), loaded.duration)[0]
        return loaded.answer(
            f"when {sentence}", _span(moment.start_s, moment.end_s, loaded.duration), [moment.share], attention
        )
    batch = _batch(own, loaded, "TRG", own.tokenizer.encode(sentence), moments_prompt(sentence, BINS))
    stamps = Timestamps.of(own.tokenizer, BINS)
    qa = answering(own.model, len(loaded.images), lambda: stamps.words, choices=False)
    likely, attention = jax.jit(functools.partial(first_numbers, qa, stamps))(own.params, batch)
    best = detections(np.asarray(likely, np.float64)[0, 0], loaded.duration)[0]
    return loaded.answer(
        f"when {sentence}", _span(best.start, best.end, loaded.duration), [best.score], np.asarray(attention)[0, 0]
    )


def _span(start: float, end: float, duration: float) -> str:
    return f"{clock(start, duration)} to {clock(end, duration)}"


def parse_actions_so_far(text: str) -> list[tuple[str, float | None]]:
    """Returns "take cup@3.5, wash cup" as actions with the second that each began at, where it is said.

    Actions may also be written as Ego4D's models are taught them, "(take, cup)@3.5, (wash, cup)".

    Raises StoryjaxError where what stands behind an @ is no time.
    """
    actions: list[tuple[str, float | None]] = []
    for part in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", text))):
        action, at, second = part.partition("@")
        if at and not re.fullmatch(r"\s*\d+(\.\d+)?\s*", second):
            raise StoryjaxError(f"--anticipate '{part}': behind @ stands the second it began at, as in 'wash cup@3.5'")
        actions.append((" ".join(action.split()), float(second) if at else None))
    return actions


def anticipate(
    predictor: Predictor,
    video: str | os.PathLike[str],
    actions: str = "",
    frames: int | None = None,
    video_track: int | None = None,
) -> Answer:
    """Returns what comes next (§3.3.4), after `actions` so far, as `parse_actions_so_far` reads them, or none.

    The TCR is prompted with the times and as many of the last actions as its prompt has room for.
    """
    observed = parse_actions_so_far(actions)
    loaded, own = predictor.load(video, frames, video_track), predictor
    times = ([] if second is None else time_tokens([second], own.model.resampler.sizes) for _, second in observed)
    parts = [[*time, *own.tokenizer.encode(action)] for time, (action, _) in zip(times, observed, strict=True)]
    condition = [token for part in last_that_fit(parts, own.condition_length) for token in part]
    prompt = anticipation_prompt([action for action, _ in observed], len(observed) + ACTIONS_AHEAD)
    ids, probability, attention = own.say([_batch(own, loaded, "LTA", condition, prompt)])[0]
    text = own.spell(ids)
    if own.tokenizer.eos_id not in ids:
        text = whole_actions(text)
    answer = loaded.answer("what comes next", text, [probability], attention)
    return (
        answer if observed else replace(answer, warnings=("no action so far was given to go on from: this is a guess",))
    )


def whole_actions(text: str) -> str:
    """Returns actions that were cut off somewhere, without the last one: "take cup, wash" is "take cup"."""
    end = text.rfind(")") + 1 if "(" in text else text.rfind(",")
    return text[:end] if end > 0 else text


def count(
    checkpoint: str | None, video: str | os.PathLike[str], action: str = "", video_track: int | None = None
) -> Answer:
    """Returns how often a movement is repeated, by a checkpoint of configs/tcr_countix.py (§3.6.3).

    Args:
        checkpoint: None: the one that ships, which knows StoryWorld alone.
        action: the prompt, for instance "kicking the ball"; empty: whatever is repeated.

    Raises StoryjaxError where it is of another task.
    """
    trained = open_trained(
        checkpoint,
        default=SHIPPED_COUNTER,
        chapter="TCR",
        experiments=("tcr.heads", "tcr"),
        parts=("vision", "llm", "tcr"),
        precision="float32",
    )
    config = trained.config
    if config.data.get("task") != "counting":
        advice = "train configs/tcr_countix.py and give its workdir with --checkpoint"
        raise StoryjaxError(f"{trained.source} does not count: {advice}")
    section = from_config(CountingData, config.data, "config.data")
    model = make_model(config.model)
    head = CountingHead(model, section)
    params = trained.parameters(head.init, "(tcr|head)/.*", frozen_towers(config.model, ("vision",)))
    duration = probe(str(video), track=video_track).duration_s
    times = sample_times(duration, section.frames)
    images, seconds = decode_frames(str(video), times, model.vision.config.image_size, track=video_track)
    length = section.condition_length
    words = make_tokenizer(config.model).encode(action)[:length]
    asked = {"prompt": pad(words, length)[None], "prompt_mask": np.arange(length)[None] < len(words)}
    counted = float(jax.jit(head.outputs)(params, {"frames": images[None], **asked})[0])
    even = tuple([1 / len(images)] * len(images))
    return Answer(
        video=str(video),
        question=f"how many repetitions of {action}" if action else "how many repetitions",
        options=(),
        text=f"{round(counted)} times ({counted:.2f})",
        option=None,
        probabilities=(1.0,),
        moments=find_moments(even, duration),
        attention=even,
        seconds=tuple(map(float, seconds)),
        duration_s=duration,
        video_track=video_track,
    )
