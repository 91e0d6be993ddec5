"""What every head without a language model is: a module on the TCR's query outputs, its losses and its scores."""

import abc
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from storyjax.core.errors import StoryjaxError
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TcrResampler, init_tcr
from storyjax.train.experiment import Batch, Params


class Head(abc.ABC):
    """A head on the TCR. Parameters: {"vision", "tcr" (unless a baseline reads the frames themselves), "head"}.

    Args:
        model: whose vision tower and TCR it is on; its language model is not used.

    Attributes:
        name: of its task, its evaluator and its metrics.

    Raises:
        StoryjaxError: the model's resampler is not the TCR.
    """

    name: ClassVar[str]

    def __init__(self, model: VideoLanguageModel):
        if not isinstance(model.resampler, TcrResampler):
            raise StoryjaxError("config.model.qformer: heads without a language model are for the TCR alone")
        self.model, self.tcr = model, model.resampler.module

    @property
    @abc.abstractmethod
    def module(self) -> nn.Module:
        """What is trained on top."""

    @property
    @abc.abstractmethod
    def trainable(self) -> str:
        """The pattern of the parameters that train."""

    @abc.abstractmethod
    def init(self, key: Array) -> Params:
        """Returns random parameters; meant for `jit` or `eval_shape`."""

    @abc.abstractmethod
    def outputs(self, params: Params, batch: Batch) -> Any:
        """Returns what the module makes of each row of the batch."""

    @abc.abstractmethod
    def losses(self, outputs: Any, batch: Batch) -> Float[Array, " r"]:
        """Returns the loss of each row."""

    @abc.abstractmethod
    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the mean loss of the batch's real rows, and nothing to log."""

    @abc.abstractmethod
    def eval_step(self, params: Params, batch: Batch) -> Any:
        """Returns what the evaluator accumulates of a batch."""

    def init_vision(self, key: Array) -> dict[str, Any]:
        """Returns random parameters of the vision tower."""
        size = self.model.vision.config.image_size
        return self.model.vision.init(key, jnp.zeros((1, size, size, 3)))["params"]

    def init_tcr_and_head(self, keys: Array, width: int, project: bool) -> dict[str, Any]:
        """Returns random parameters of a TCR that reads tokens of `width`, and of the module on its queries.

        Args:
            keys: one of each.
            project: whether the TCR also has its projection to the language model.
        """
        c = self.tcr.config
        head = self.module.init(keys[1], jnp.zeros((1, c.queries, c.width)))["params"]
        return {"tcr": init_tcr(self.tcr, keys[0], width, project), "head": head}


def mean_of_real(losses: Float[Array, " r"], real: Array) -> Float[Array, ""]:
    """Returns the mean loss of the rows that are real."""
    return jnp.sum(losses * real) / jnp.maximum(jnp.sum(real), 1)
