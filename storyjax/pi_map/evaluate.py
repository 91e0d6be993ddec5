"""Retrieval of objects: queries by name, by image, by both and by learned tokens, and their metrics (§5.4.1).

Context queries name an object and a context ("a photo of * in the car park") and have one relevant record, or, where
contexts recur, as those of Celebrities in Action, all that show the same (§5.4.2); for generic ones ("an image of *")
every record of the object is relevant.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from storyjax.core.arrays import unit_norm
from storyjax.metrics import retrieval
from storyjax.pi_map.data import Collection, CollectionConfig, Pool
from storyjax.pi_map.model import PersonalClip
from storyjax.pi_map.prompts import PromptEncoder, with_category
from storyjax.train.experiment import Batch, Params

# By the object's own name, by its category, by an image, by category and image (the mean of the two embeddings); by the
# learned token (§5.3.5), and by an image mapped to a token (§5.3.3).
METHODS = ("clip_text", "clip_text_generic", "clip_image", "clip_both", "text", "image")
CONTEXT, GENERIC = 0, 1
KINDS = ("context", "generic")


class Queries:
    """A random-access source: every context of the pool as a query, and every object as a generic one."""

    def __init__(self, collection: Collection, pool: Pool, prompts: PromptEncoder, config: CollectionConfig):
        self.collection, self.pool, self.prompts, self.config = collection, pool, prompts, config
        known = range(len(collection.objects))
        shown = [number for number in known if number in pool.objects]
        self.items = [(CONTEXT, each.object, i) for i, each in enumerate(pool.contexts) if each.object in known]
        self.items += [(GENERIC, number, -1) for number in shown]
        self.most = int(np.bincount(collection.templates.objects).max())

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, int, int]:
        return self.items[int(index)]

    def prompt(self, kind: int, answer: int) -> str:
        """Returns the query with "*" for the object."""
        if kind == GENERIC:
            return self.config.generic
        return self.config.context.format(caption=self.pool.contexts[answer].caption)

    def load(self, item: tuple[int, int, int], rng: np.random.Generator) -> Batch:
        """Returns the query in every form that a method needs."""
        del rng
        kind, number, answer = item
        thing, prompt = self.collection.objects[number], self.prompt(kind, answer)
        length = self.config.text_length
        ids, slots = self.prompts.encode(prompt, length)
        own = self.collection.templates.local[self.collection.templates.objects == number]
        templates = np.zeros((self.most, own.shape[1]), np.float32)
        templates[: len(own)] = own
        return {
            "kind": np.int32(kind),
            "object": np.int32(number),
            "answer": np.int32(answer),
            "ids": ids,
            "slots": np.minimum(slots, 0),  # every "*" of a prompt is the one object
            "named": self.prompts.encode(prompt.replace("*", thing.name), length)[0],
            "of_kind": self.prompts.encode(with_category(prompt, thing.category), length)[0],
            "whole": self.collection.queries_whole[number],
            "local": self.collection.queries_local[number],
            "templates": templates,
            "template_mask": np.arange(self.most) < len(own),
        }


def mean_token(
    model: PersonalClip, params: Params, templates: Float[Array, "b k d"], mask: Bool[Array, "b k"]
) -> Float[Array, "b d"]:
    """Returns the learned tokens: the means of the mapped templates (§5.3.5)."""
    weights = mask.astype(jnp.float32)[..., None]
    return (model.tokens(params, templates) * weights).sum(axis=1) / weights.sum(axis=1)


def embed_queries(model: PersonalClip, params: Params, batch: Batch) -> dict[str, Array]:
    """Returns the embedding of each query by each of METHODS, and what `score` needs of the batch."""

    def spliced(tokens: Float[Array, "b d"]) -> Float[Array, "b d"]:
        return model.embed_texts(params, batch["ids"], tokens[:, None, :], batch["slots"])

    of_kind, image = model.embed_texts(params, batch["of_kind"]), batch["whole"]
    found = {
        "clip_text": model.embed_texts(params, batch["named"]),
        "clip_text_generic": of_kind,
        "clip_image": image,
        "clip_both": unit_norm(unit_norm(of_kind) + unit_norm(image)),
        "text": spliced(mean_token(model, params, batch["templates"], batch["template_mask"])),
        "image": spliced(model.tokens(params, batch["local"])),
    }
    return {**found, **{key: batch[key] for key in ("kind", "object", "answer", "record_valid")}}


def accumulate(acc: Any, queries: dict[str, np.ndarray], batch: Batch) -> dict[str, np.ndarray]:
    """Returns the queries before and a batch's queries, without the padding."""
    del batch
    valid = np.asarray(queries["record_valid"], bool)
    new = {key: np.asarray(value)[valid] for key, value in queries.items() if key != "record_valid"}
    return new if acc is None else {key: np.concatenate([acc[key], new[key]]) for key in new}


def score(
    queries: dict[str, np.ndarray], pool: Pool, prefix: str, methods: Sequence[str] = METHODS
) -> dict[str, float]:
    """Returns "prefix/{context,generic}/METHOD/{mrr,r1,r5,r10,map,tr5,p5,p10}".

    And "chance/mrr", of random rankings, and "best/tr5", the maximum of tR@5.
    """
    results: dict[str, float] = {}
    for kind, name in enumerate(KINDS):
        chosen = queries["kind"] == kind
        if not chosen.any():
            continue
        if kind == CONTEXT:
            relevant = np.zeros((int(chosen.sum()), len(pool.objects)), bool)
            for row, answer in enumerate(queries["answer"][chosen]):
                relevant[row, list(pool.contexts[int(answer)].records)] = True
        else:
            relevant = queries["object"][chosen][:, None] == pool.objects[None]
        for method in methods:
            found = retrieval_metrics(pool.scores(queries[method][chosen]), relevant)
            results |= {f"{prefix}/{name}/{method}/{key}": value for key, value in found.items()}
        rng = np.random.default_rng(0)
        random = [retrieval.mean_reciprocal_rank(rng.random(relevant.shape), relevant) for _ in range(50)]
        results[f"{prefix}/{name}/chance/mrr"] = float(np.mean(random))
        results[f"{prefix}/{name}/best/tr5"] = retrieval.best_true_recall_at(relevant, 5)
    return results


def retrieval_metrics(scores: retrieval.Scores, relevant: retrieval.Relevant) -> dict[str, float]:
    """Returns the metrics of Tables 5.1 to 5.7."""
    return {
        "mrr": retrieval.mean_reciprocal_rank(scores, relevant),
        "r1": retrieval.hit_at(scores, relevant, 1),
        "r5": retrieval.hit_at(scores, relevant, 5),
        "map": retrieval.mean_average_precision(scores, relevant),
        "tr5": retrieval.true_recall_at(scores, relevant, 5),
        "p5": retrieval.precision_at(scores, relevant, 5),
        "r10": retrieval.hit_at(scores, relevant, 10),
        "p10": retrieval.precision_at(scores, relevant, 10),
    }
