"""What a run of π-map finds, right and wrong marked (thesis Figs. 5.5 and 5.7)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from storyjax.core.config import choose, from_config
from storyjax.pi_map.config import TRAINABLE, DataConfig, clip_square, frozen_embed, frozen_parameters, make_model
from storyjax.pi_map.data import Pool, record_frames
from storyjax.pi_map.evaluate import CONTEXT, KINDS, Queries, embed_queries
from storyjax.pi_map.experiment import open_collection, open_splits
from storyjax.pi_map.predict import DEFAULT
from storyjax.pi_map.prompts import MARKER, PromptEncoder
from storyjax.search.ranked_page import Mark, RankedQuery, Shown, choose_shown, spread
from storyjax.train.restore import open_trained


def ranked_queries(run: str | Path, kind: str, *, queries: int = 8, first: int = 5) -> list[RankedQuery]:
    """Returns what the learned tokens of a run find in the first of its `eval_splits`.

    Args:
        run: the workdir of a run of configs/pi_map_thisismy.py, pi_map_deepfashion2.py or pi_map_cia.py.
        kind: of the queries, "context" or "generic".
        queries: at most so many, evenly spread.
        first: results of each.

    Raises:
        StoryjaxError: no such run or kind of queries, or the run's data are not there.
    """
    kinds = [KINDS.index(choose(kind, KINDS, "kind of queries"))]
    trained = open_trained(run, default=DEFAULT, chapter="π-map", experiments=("pi_map",), parts=("clip",))
    config = trained.config
    model, section = make_model(config.model, trained.policy.name)
    clip, data = frozen_parameters(section.clip), from_config(DataConfig, config.data, "config.data")
    collection = open_collection(data, frozen_embed(model, clip), clip_square(model.config), config.seed)
    split = data.eval_splits[0]
    pool, records = collection.pools[split], open_splits(data, data.root, data.synthetic, (split,))[split]
    asked = Queries(collection, pool, PromptEncoder(section.clip, section.clip.family), data)
    chosen = [item for item in asked.items if item[0] in kinds]
    chosen = [chosen[i] for i in spread(len(chosen), queries)]
    if not chosen:
        return []
    rows = [asked.load(item, np.random.default_rng(0)) for item in chosen]
    batch = {name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]}
    params = trained.parameters(model.init, TRAINABLE, clip)
    embedded = jax.jit(lambda params, batch: embed_queries(model, params, batch))(
        params, {**batch, "record_valid": jnp.ones(len(rows), bool)}
    )
    found = []
    for item, query in zip(chosen, np.asarray(embedded["text"]), strict=True):
        right = _right(pool, item)
        shown = []
        for position, rank in choose_shown(pool.scores(query[None])[0], right, first):
            frames, _ = record_frames(records[position], None)
            best = int((pool.frames[position] @ query)[: len(frames)].argmax())
            shown.append(Shown(rank, _mark(pool, item, right, position), frames[best]))
        words = asked.prompt(item[0], item[2]).replace(MARKER, f"<{collection.objects[item[1]].name}>")
        found.append(RankedQuery(words, tuple(shown)))
    return found


def _right(pool: Pool, item: tuple[int, int, int]) -> np.ndarray:
    """Which records of a pool answer a query."""
    kind, number, answer = item
    if kind != CONTEXT:
        return pool.objects == number
    right = np.zeros(len(pool.objects), bool)
    right[list(pool.contexts[answer].records)] = True
    return right


def _mark(pool: Pool, item: tuple[int, int, int], right: np.ndarray, position: int) -> Mark:
    """How a record is marked."""
    if right[position]:
        return "right"
    return "elsewhere" if pool.objects[position] == item[1] else "wrong"
