"""Running evaluators: finite data through a jitted step, accumulated on the host."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Batch, Evaluator, HostEvaluator, Params
from storyjax.train.mesh import batch_sharding, data_share, put_batch, replicated
from storyjax.train.params import merge


def make_eval_step(evaluator: Evaluator, mesh: Mesh) -> Any:
    """Returns the jitted step: (trainable, frozen, batch) -> the evaluator's result, whole on every device."""

    def eval_step(trainable: Params, frozen: Params, batch: Batch) -> Any:
        return evaluator.eval_step(merge(trainable, frozen), batch)

    return jax.jit(eval_step, out_shardings=replicated(mesh))


class Evaluation:
    """All evaluators of an experiment, compiled once.

    Args:
        evaluators: whose metric names must not clash.
        batch_size: global.
        seed: of the run.
        mesh: batches are cut over it, results come back whole.
    """

    def __init__(
        self, evaluators: tuple[Evaluator | HostEvaluator, ...], batch_size: int, seed: int, mesh: Mesh
    ) -> None:
        self._evaluators = evaluators
        index, count = data_share(mesh)
        self._spec = StreamSpec(batch_size, seed, process_index=index, process_count=count)
        self._sharding = batch_sharding(mesh)
        self._gather = jax.jit(lambda batch: batch, out_shardings=replicated(mesh))
        self._measures = {e.name: make_eval_step(e, mesh) for e in evaluators if isinstance(e, Evaluator)}

    def __call__(self, trainable: Params, frozen: Params, after_batch: Callable[[str], None]) -> dict[str, float]:
        """{"dataset/metric": number} of all evaluators, sorted.

        Args:
            after_batch: called with the evaluator's name; what it raises ends the evaluation.
        """
        results: dict[str, float] = {}
        for evaluator in self._evaluators:
            if isinstance(evaluator, HostEvaluator):
                measured = self._on_host(evaluator, trainable, frozen, after_batch)
            else:
                measured = self._in_batches(evaluator, trainable, frozen, after_batch)
            metrics = {name: float(value) for name, value in measured.items()}
            clash = sorted(set(metrics) & set(results))
            if clash:
                raise ValueError(f"evaluators share the metric names {clash}")
            results |= metrics
        return dict(sorted(results.items()))

    def _in_batches(
        self, evaluator: Evaluator, trainable: Params, frozen: Params, after_batch: Callable[[str], None]
    ) -> dict[str, Any]:
        eval_step, stream, accumulated = self._measures[evaluator.name], evaluator.data(self._spec), None
        try:
            for batch in stream:
                on_devices = put_batch(
                    batch, self._spec.batch_size, self._sharding, evaluator.name, evaluator.sequences
                )
                measured = jax.device_get(eval_step(trainable, frozen, on_devices))
                if jax.process_count() > 1 and evaluator.reads_batch:
                    # The measurements are those of the global batch, and so must the batch beside them be.
                    batch = jax.device_get(self._gather(on_devices))
                accumulated = evaluator.accumulate(accumulated, measured, batch)
                after_batch(evaluator.name)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
        if accumulated is None:
            raise StoryjaxError(f"evaluator '{evaluator.name}' was given no data.")
        return evaluator.compute(accumulated)

    def _on_host(
        self, evaluator: HostEvaluator, trainable: Params, frozen: Params, after_batch: Callable[[str], None]
    ) -> dict[str, Any]:
        whole = merge(trainable, frozen)
        if jax.process_count() > 1:  # some of it may be on other processes' devices
            whole = self._gather(whole)
        whole = jax.device_get(whole)
        return evaluator.run(whole, lambda: after_batch(evaluator.name))
