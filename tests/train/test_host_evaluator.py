"""Evaluators that run Python over the parameters: what they are given, what they give, how they end."""

import jax
import numpy as np
import pytest
import toy

from storyjax.train.evaluation import Evaluation
from storyjax.train.experiment import HostEvaluator
from storyjax.train.mesh import make_mesh
from storyjax.train.settings import MeshSettings


def measured(*evaluators: HostEvaluator, after=lambda name: None) -> dict[str, float]:
    trainable, frozen = {"student": {"w": jax.numpy.ones(3)}}, {"teacher": {"w": jax.numpy.zeros(2)}}
    return Evaluation(evaluators, 8, 0, make_mesh(MeshSettings()))(trainable, frozen, after)


def test_it_gets_all_parameters_as_numpy_and_gives_numbers() -> None:
    given, called = [], []

    def run(params, after_part):
        given.append(params)
        after_part()
        return {"b/sum": params["student"]["w"].sum(), "a/n": 1}

    assert measured(HostEvaluator("films", run), after=called.append) == {"a/n": 1.0, "b/sum": 3.0}
    assert set(given[0]) == {"student", "teacher"}
    assert isinstance(given[0]["teacher"]["w"], np.ndarray)
    assert called == ["films"]


def test_what_the_call_raises_ends_it_and_names_may_not_clash() -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt(name)

    def run(params, after_part):
        after_part()
        return {"a/n": 1.0}

    with pytest.raises(KeyboardInterrupt, match="films"):
        measured(HostEvaluator("films", run), after=stop)
    with pytest.raises(ValueError, match="a/n"):
        measured(HostEvaluator("films", run), HostEvaluator("again", run))


def test_experiments_take_both_kinds() -> None:
    host = HostEvaluator("films", lambda params, after_part: {"films/n": 2.0})
    assert toy.experiment(evaluators=(toy.evaluator(), host)).evaluators[1] is host
    with pytest.raises(ValueError, match="name of its own"):
        toy.experiment(evaluators=(host, host))
