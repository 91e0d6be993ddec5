"""What a run of CLIP-PAD finds, right and wrong marked (thesis Figs. 4.3 to 4.7)."""

import dataclasses
from pathlib import Path

import numpy as np

from storyjax.clip_pad.config import frozen_parameters, make_model
from storyjax.clip_pad.data import MARKER
from storyjax.clip_pad.evaluate import Embeddings, RetrievalEvaluator, scores
from storyjax.clip_pad.experiment import open_evaluation
from storyjax.clip_pad.model import TRAINABLE
from storyjax.clip_pad.predict import DEFAULT
from storyjax.core.config import choose
from storyjax.search.ranked_page import RankedQuery, Shown, choose_shown, spread
from storyjax.train.evaluation import Evaluation
from storyjax.train.mesh import MeshSettings, make_mesh
from storyjax.train.params import partition
from storyjax.train.restore import open_trained

_LATER = 10  # right results below the first ones that are shown too, as in Fig. 4.7


def ranked_queries(run: str | Path, what: str, *, queries: int = 4, first: int = 5) -> list[RankedQuery]:
    """Returns what a run finds by name and face; where there is no person, by the sentence.

    Args:
        run: its workdir.
        what: an evaluation and the kinds of its queries: "cip:face_seen,places,compound", "cia:action_place" or
            "season:season". Of a season the first 25 are shown, and right ones below them.
        queries: of each kind at most so many, evenly spread.
        first: results of each.

    Raises:
        StoryjaxError: no such run, evaluation or kind of queries, or its data are not there.
    """
    name, _, kinds = what.partition(":")
    trained = open_trained(run, default=DEFAULT, chapter="CLIP-PAD", experiments=("clip_pad",), parts=("clip", "face"))
    evaluation = open_evaluation(trained.config, choose(name, ("cip", "cia", "season"), "evaluation"))
    model = make_model(trained.config.model, trained.policy.name)
    params = trained.parameters(model.init, TRAINABLE, frozen_parameters(trained.config.model))
    embeddings = _embed(evaluation, params)
    first, later = (25, _LATER) if name == "season" else (first, 0)
    found = []
    for kind in kinds.split(","):
        group = evaluation.groups[choose(kind, evaluation.groups, f"kind of queries of {name}")]
        mode = "text_face" if "text_face" in group.rows else "text"
        matrix = np.where(embeddings.found[None], scores(embeddings, group, mode), -np.inf)
        for row in spread(len(matrix), queries):
            query, right = evaluation.queries[group.rows[mode][row]], group.answers[row]
            shown = tuple(
                Shown(rank, "right" if right[position] else "wrong", _middle(evaluation, position))
                for position, rank in choose_shown(matrix[row], right, first, later)
            )
            found.append(RankedQuery(query.prompt.replace(MARKER, "[face]"), shown))
    return found


def _embed(evaluation: RetrievalEvaluator, params: dict) -> Embeddings:
    """The embeddings of an evaluation's clips and queries."""
    kept: list[Embeddings] = []

    def keep(embeddings: Embeddings) -> dict[str, float]:
        kept.append(embeddings)
        return {}

    evaluator = dataclasses.replace(evaluation.evaluator(), compute=keep)
    trained, frozen = partition(params, TRAINABLE)
    Evaluation((evaluator,), 16, 0, make_mesh(MeshSettings()))(trained, frozen, lambda name: None)
    return kept[0]


def _middle(evaluation: RetrievalEvaluator, position: int) -> np.ndarray:
    """The middle frame of a result, as the network takes it."""
    frames = evaluation.load(evaluation.records[position])
    return frames[len(frames) // 2]
