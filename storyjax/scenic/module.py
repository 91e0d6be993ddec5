"""An experiment as a Flax module, for trainers that know of a model nothing but `apply`, such as Scenic's."""

from collections.abc import Callable
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp

from storyjax.train.experiment import Evaluator, Experiment, Params
from storyjax.train.params import merge, partition


class ExperimentModule(nn.Module):
    """The first task of an experiment and one of its evaluators; its parameters are the experiment's whole tree.

    Frozen parameters lie among the others, with gradients of zero.

    Attributes:
        experiment: with a task.
        evaluator: what is run with train=False.
        initial: gives the parameters of `init` from its key; None: the experiment's own.
    """

    experiment: Experiment
    evaluator: Evaluator | None = None
    initial: Callable[[jax.Array], Params] | None = None

    @nn.compact
    def __call__(self, inputs: Any, *, train: bool = False, debug: bool = False) -> Any:
        """Returns {"loss": scalar, what else the task's loss reports} with train=True, whose randomness is of the
        collection "dropout", and else the evaluator's sums over the batch. `inputs` are the arrays of a batch, by
        name; `init` does not look at them.
        """
        del debug
        params = self._params()
        if self.is_initializing():
            return jnp.zeros(())
        if not train:
            assert self.evaluator is not None
            return self.evaluator.eval_step(params, inputs)
        trainable, frozen = partition(params, self.experiment.trainable)
        whole = merge(trainable, jax.tree.map(jax.lax.stop_gradient, frozen))
        key = self.make_rng("dropout")
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):  # Scenic's are arrays of two integers
            key = jax.random.wrap_key_data(key)
        loss, scalars = self.experiment.tasks[0].loss(whole, inputs, key)
        return {"loss": loss, **scalars}

    def _params(self) -> Params:
        """The parameters that there are, or those of `init`."""
        if not self.is_initializing():
            return flax.core.unfreeze(dict(self.variables["params"]))
        whole = (self.initial or self.experiment.init)(self.make_rng("params"))
        return {name: self.param(name, lambda key, part=part: part) for name, part in whole.items()}
