"""Heads on the query outputs of a pre-trained TCR that find spans of a video (thesis §3.6.3, Table 3.11)."""

import abc
from typing import Any, ClassVar, Generic, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from storyjax.metrics.grounding import Detection
from storyjax.tcr.config import TaskData
from storyjax.tcr.heads import modules
from storyjax.tcr.heads.base import Head, mean_of_real
from storyjax.tcr.heads.config import MomentsData, QueriesData, SpanData
from storyjax.tcr.interface import Prompt, Video
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TcrOutput
from storyjax.train.experiment import Batch, Params

Data = TypeVar("Data", bound=SpanData)


class SpanHead(Head, Generic[Data]):
    """A head on what the TCR makes of a video under [TRG] and what is looked for; a row for each example.

    Attributes:
        kind: its task with a language model (tasks.TASKS), whose data set and metric it has.
    """

    kind: ClassVar[str]

    def __init__(self, model: VideoLanguageModel, data: Data):
        super().__init__(model)
        self.data = data

    @property
    def trainable(self) -> str:
        """The pattern of the parameters that train."""
        return "(tcr|head)/.*" if self.data.tune else "head/.*"

    @abc.abstractmethod
    def detect(self, measured: np.ndarray, duration: float) -> list[Detection]:
        """Returns the detections of an example's `eval_step`, in seconds of a video of so many."""

    def task_data(self) -> TaskData:
        """Returns the section of the task with a language model that loads the same data."""
        d = self.data
        return TaskData(
            task=self.kind,
            root=d.root,
            cache_dir=d.cache_dir,
            synthetic=d.synthetic,
            train_split=d.train_split,
            eval_splits=(d.eval_split,),
            frames=d.frames,
            examples_per_video=d.examples_per_video,
            eval_examples=d.examples_per_video,
            condition_length=d.condition_length,
            prompt_length=1,
            target_length=1,
            max_broken_fraction=d.max_broken_fraction,
            workers=d.workers,
        )

    def shapes(self, examples: Batch) -> Batch:
        """Returns the shapes of a batch, of which `examples` are those without the spans."""
        rows, most = examples["task"].shape, self.data.most_moments
        spans = {"spans": ((*rows, most, 2), jnp.float32), "there": ((*rows, most), jnp.bool_)}
        return examples | {name: jax.ShapeDtypeStruct(*leaf) for name, leaf in spans.items()}

    def init(self, key: Array) -> Params:
        """Returns random parameters."""
        keys = jax.random.split(key, 3)
        made = self.init_tcr_and_head(keys[1:], self.model.vision.config.width, project=True)
        return {"vision": self.init_vision(keys[0]), **made}

    def outputs(self, params: Params, batch: Batch) -> Any:
        """Returns what the module makes of each example, (b k) rows."""
        visual = self.model.visual(params, Video(batch["seconds"], batch["frame_mask"], batch["frames"]), None)
        prompt = Prompt(batch["task"], batch["condition"], batch["condition_mask"])
        output = cast(TcrOutput, self.tcr.apply({"params": params["tcr"]}, visual, prompt, project=False))
        queries = output.queries if self.data.tune else jax.lax.stop_gradient(output.queries)
        return self.module.apply({"params": params["head"]}, rearrange(queries, "b k q d -> (b k) q d"))

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the mean loss of the real examples, and nothing to log."""
        losses = self.losses(self.outputs(params, batch), batch)
        return mean_of_real(losses, batch["valid"].reshape(-1)), {}


class MomentsHead(SpanHead[MomentsData]):
    """Moment queries: a set of moments."""

    name, kind = "standalone_mq", "mq"

    @property
    def module(self) -> nn.Module:
        """A moment and its probability from every query."""
        return modules.MomentSet(self.data.hidden)

    def losses(self, outputs: tuple[Array, Array], batch: Batch) -> Float[Array, " r"]:
        """Returns the loss of set prediction."""
        spans, there = (rearrange(batch[name], "b k ... -> (b k) ...") for name in ("spans", "there"))
        return modules.set_loss(*outputs, spans, there)

    def eval_step(self, params: Params, batch: Batch) -> Float[Array, "b k q n"]:
        """Returns the probability, start and end of every query; as fractions of the video."""
        logits, spans = self.outputs(params, batch)
        found = jnp.concatenate([jax.nn.sigmoid(logits)[..., None], spans], axis=-1)
        return rearrange(found, "(b k) ... -> b k ...", b=batch["task"].shape[0])

    def detect(self, measured: Float[np.ndarray, "q n"], duration: float) -> list[Detection]:
        """Returns a detection for each query, as sure as it says."""
        return [
            Detection(float(start * duration), float(end * duration), float(score)) for score, start, end in measured
        ]


class QueriesHead(SpanHead[QueriesData]):
    """Language queries: where one moment begins and ends."""

    name, kind = "standalone_nlq", "nlq"

    @property
    def module(self) -> nn.Module:
        """Distributions of the beginning and the end."""
        return modules.SpanHead(self.data.bins, self.data.hidden)

    def losses(self, outputs: Float[Array, "r s n"], batch: Batch) -> Float[Array, " r"]:
        """Returns the cross-entropy to soft targets."""
        spans = rearrange(batch["spans"], "b k ... -> (b k) ...")
        return modules.span_loss(outputs, spans[:, 0])

    def eval_step(self, params: Params, batch: Batch) -> Float[Array, "b k s n"]:
        """Returns the probabilities of each bin for the beginning and for the end."""
        return rearrange(jnp.exp(self.outputs(params, batch)), "(b k) ... -> b k ...", b=batch["task"].shape[0])

    def detect(self, measured: Float[np.ndarray, "s n"], duration: float) -> list[Detection]:
        """Returns the likeliest spans."""
        spans = modules.best_spans(measured[0], measured[1])
        return [Detection(start * duration, end * duration, score) for start, end, score in spans]
