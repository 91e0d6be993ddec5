"""Heads on one token a frame of short clips: recognition, frame selection, counting (thesis §3.6.3)."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from storyjax.metrics.counting import counting, counting_sums, selection, selection_sums
from storyjax.tcr.heads import modules
from storyjax.tcr.heads.base import Head, mean_of_real
from storyjax.tcr.heads.config import ClipData, CountingData, RecognitionData, SelectionData
from storyjax.tcr.heads.data import ClassLoader, Clips, CountLoader, RepetitionLoader, StitchLoader
from storyjax.tcr.interface import Prompt, VisualTokens
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TcrOutput, sinusoids
from storyjax.train.experiment import Batch, BatchSpec, Params

Data = TypeVar("Data", bound=ClipData)
Load = Callable[[int, np.random.Generator], Batch]


class ClipHead(Head, Generic[Data]):
    """A head on clips, of which the TCR, or a baseline in its place, reads one token (CLS) a frame.

    Attributes:
        dataset: which is evaluated on, of data/registry.py.
        train_dataset: which is trained on.
    """

    dataset: ClassVar[str] = "kinetics400"
    train_dataset: ClassVar[str] = "kinetics400"

    def __init__(self, model: VideoLanguageModel, data: Data):
        super().__init__(model)
        self.data = data

    @property
    def reads_frames(self) -> bool:
        """Whether a baseline reads the frames' tokens, without the TCR."""
        return False

    @property
    def trainable(self) -> str:
        """The pattern of the parameters that train."""
        return "head/.*" if self.reads_frames else "(tcr|head)/.*"

    @abc.abstractmethod
    def place(self, dataset: str) -> tuple[str, dict[str, Any] | None]:
        """Returns where a data set's official files are, and the arguments of what writes a synthetic one there."""

    @abc.abstractmethod
    def loader(self, clips: Clips, classes: Callable[[], tuple[str, ...]], train: bool) -> Load:
        """Returns what makes a clip's number an example, in training or evaluation; `classes` are known when called."""

    @abc.abstractmethod
    def compute(self, sums: dict[str, Any]) -> dict[str, float]:
        """Returns the metrics of summed `eval_step`s."""

    def frame_inputs(self, frames: Float[Array, "b t e"]) -> tuple[Array, ...]:
        """Returns what a baseline's module takes of the frames' tokens."""
        return (frames,)

    def batch_spec(self, train: bool) -> BatchSpec:
        """Returns what `storyjax plan` needs to know of a batch."""
        tower, length = self.model.vision.config, self.data.condition_length
        shown = self.truth(train)
        if self.data.cached:
            shown["tokens"] = ((self.data.frames, tower.width), np.float32)
        else:
            shown["frames"] = ((self.data.frames, tower.image_size, tower.image_size, 3), np.uint8)
        shown |= {"prompt": ((length,), np.int32), "prompt_mask": ((length,), np.bool_), "record_valid": ((), np.bool_)}
        return BatchSpec.of_rows(shown)

    @abc.abstractmethod
    def truth(self, train: bool) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Returns (shape, type) of what a batch has besides frames and a prompt, without the batch's dimension."""

    def init(self, key: Array) -> Params:
        """Returns random parameters."""
        keys, width = jax.random.split(key, 3), self.model.vision.config.width
        vision = {"vision": self.init_vision(keys[0])}
        if self.reads_frames:
            return vision | {"head": self.module.init(keys[2], *self.frame_inputs(jnp.zeros((1, 2, width))))["params"]}
        width += self.data.frames if self.data.temporal_difference else 0
        return vision | self.init_tcr_and_head(keys[1:], width, project=False)

    def outputs(self, params: Params, batch: Batch) -> Any:
        """Returns what the module makes of each clip."""
        stored = "tokens" in batch
        frames = batch["tokens"] if stored else self.model.encode_class_tokens(params, batch["frames"])
        frames = modules.temporal_difference(frames) if self.data.temporal_difference else frames
        head = {"params": params["head"]}
        if self.reads_frames:
            return self.module.apply(head, *self.frame_inputs(frames))
        positions = jnp.broadcast_to(jnp.arange(frames.shape[1])[None], frames.shape[:2])
        task = jnp.zeros((frames.shape[0], 1), jnp.int32)
        visual = VisualTokens(frames, positions, jnp.ones(positions.shape, bool))
        prompt = Prompt(task, batch["prompt"][:, None], batch["prompt_mask"][:, None])
        output = cast(TcrOutput, self.tcr.apply({"params": params["tcr"]}, visual, prompt, project=False))
        return self.module.apply(head, output.queries[:, 0])

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the mean loss of the clips, and nothing to log."""
        losses = self.losses(self.outputs(params, batch), batch)
        return mean_of_real(losses, jnp.ones(losses.shape, bool)), {}


class RecognitionHead(ClipHead[RecognitionData]):
    """Action recognition, by the TCR or by a baseline of Table 3.9."""

    name = "kinetics"

    @property
    def reads_frames(self) -> bool:
        """Whether a baseline reads the frames' tokens, without the TCR."""
        return self.data.sampler != "tcr"

    @property
    def module(self) -> nn.Module:
        """The classifier."""
        if self.data.sampler == "attention":
            return modules.AttentionPooling(self.data.classes, self.data.hidden, self.tcr.config.heads)
        return (modules.RandomFrames if self.data.sampler == "random" else modules.Recognition)(self.data.classes)

    def place(self, dataset: str) -> tuple[str, dict[str, Any] | None]:
        """Returns where the data set is, and how it is made up."""
        return self.data.root, self.data.synthetic

    def loader(self, clips: Clips, classes: Callable[[], tuple[str, ...]], train: bool) -> Load:
        """Returns the loader of clips with their classes."""
        kept = self.data.kept if self.data.sampler == "random" else None
        return ClassLoader(clips, classes(), self.data.frames, train, kept)

    def truth(self, train: bool) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Returns the class."""
        return {"label": ((), np.int32)}

    def frame_inputs(self, frames: Float[Array, "b t e"]) -> tuple[Array, ...]:
        """Returns the frames' tokens and, for attention pooling, their positions."""
        if self.data.sampler != "attention":
            return (frames,)
        return frames, sinusoids(jnp.arange(frames.shape[1]), self.data.hidden)

    def losses(self, outputs: Float[Array, "b c"], batch: Batch) -> Float[Array, " b"]:
        """Returns the cross-entropy of each clip."""
        return -jnp.take_along_axis(outputs, batch["label"][:, None], axis=1)[:, 0]

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums: videos, and those whose likeliest class is right."""
        return modules.classes_right(self.outputs(params, batch), batch["label"], batch["record_valid"])

    def compute(self, sums: dict[str, Any]) -> dict[str, float]:
        """Returns the accuracy."""
        return {f"{self.name}/acc": float(sums["right"] / max(sums["videos"], 1))}


class SelectionHead(ClipHead[SelectionData]):
    """Which frames of a stitched video show an action, by the TCR or by classifying each frame."""

    name = "selection"

    @property
    def reads_frames(self) -> bool:
        """Whether a baseline reads the frames' tokens, without the TCR."""
        return self.data.sampler != "tcr"

    @property
    def module(self) -> nn.Module:
        """The classifiers."""
        if self.reads_frames:
            return modules.FrameClasses(self.data.classes)
        return modules.Selection(self.data.frames)

    def place(self, dataset: str) -> tuple[str, dict[str, Any] | None]:
        """Returns where the data set is, and how it is made up."""
        return self.data.root, self.data.synthetic

    def loader(self, clips: Clips, classes: Callable[[], tuple[str, ...]], train: bool) -> Load:
        """Returns the loader of stitched videos."""
        d = self.data
        return StitchLoader(clips, classes(), d.frames, d.videos, d.most_frames, train)

    def truth(self, train: bool) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Returns the class, and which frames show it."""
        return {"label": ((), np.int32), "truth": ((self.data.frames,), np.bool_)}

    def losses(self, outputs: Any, batch: Batch) -> Float[Array, " b"]:
        """Returns the loss of each stitched video."""
        if self.reads_frames:
            return modules.frame_class_loss(outputs, batch["label"], batch["truth"])
        return modules.selection_loss(outputs, batch["truth"])

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums of what precision and recall are computed from."""
        outputs = self.outputs(params, batch)
        if self.reads_frames:
            chosen = jnp.argmax(outputs, axis=-1) == batch["label"][:, None]
        else:
            chosen = modules.selected(outputs)
        return selection_sums(chosen, batch["truth"], batch["record_valid"])

    def compute(self, sums: dict[str, Any]) -> dict[str, float]:
        """Returns precision and recall over frames."""
        return {f"{self.name}/{key}": value for key, value in selection(sums).items()}


class CountingHead(ClipHead[CountingData]):
    """How often a movement is repeated; trained on repetitions made of Kinetics' clips."""

    name = "countix"
    dataset = "countix"

    @property
    def module(self) -> nn.Module:
        """The period predictor."""
        return modules.Counting(self.data.hidden)

    def place(self, dataset: str) -> tuple[str, dict[str, Any] | None]:
        """Returns where one of the two data sets is, and how it is made up."""
        return self.data.root[dataset], (self.data.synthetic or {}).get(dataset)

    def loader(self, clips: Clips, classes: Callable[[], tuple[str, ...]], train: bool) -> Load:
        """Returns the loader of synthetic repetitions, or of real ones in evaluation."""
        d = self.data
        if train:
            return RepetitionLoader(clips, d.frames, d.most_count, d.fps, d.movement)
        return CountLoader(clips, d.frames)

    def truth(self, train: bool) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Returns the count."""
        return {"count": ((), np.float32)}

    def losses(self, outputs: Float[Array, " b"], batch: Batch) -> Float[Array, " b"]:
        """Returns the error of each clip, relative to its count."""
        return modules.counting_loss(outputs, batch["count"])

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums of what the errors are computed from."""
        return counting_sums(self.outputs(params, batch), batch["count"], batch["record_valid"])

    def compute(self, sums: dict[str, Any]) -> dict[str, float]:
        """Returns MAE and OBO."""
        return {f"{self.name}/{key}": value for key, value in counting(sums).items()}
