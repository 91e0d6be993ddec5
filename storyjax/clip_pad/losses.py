"""The symmetric contrastive loss of queries and what they ask for (§4.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from storyjax.clip_pad.model import ClipPad, mean_of_descriptions
from storyjax.train.experiment import Batch, Params

_ANY = -1


def answers(
    query_facts: Int[Array, "b f"], query_place: Int[Array, "b"], facts: Int[Array, "n p f"], place: Int[Array, "n"]
) -> Bool[Array, "b n"]:
    """Which of n clips answer each query: the place is the one asked for, and some performer is whom and does what.

    A query's -1 asks for nothing; a clip's performers that are not there have facts below -1.
    """
    somebody = jnp.any(
        jnp.all((query_facts[:, None, None, :] == _ANY) | (query_facts[:, None, None, :] == facts[None]), axis=-1),
        axis=-1,
    )
    where = (query_place[:, None] == _ANY) | (query_place[:, None] == place[None])
    return somebody & where


def symmetric_contrast(logits: Float[Array, "b b"], alike: Bool[Array, "b b"]) -> Float[Array, ""]:
    """Cross-entropy both ways; the i-th query belongs to the i-th clip, and other pairs that are `alike` (the same
    person, or a clip that happens to answer too) are no negatives of each other."""
    own = jnp.eye(len(logits), dtype=bool)
    logits = jnp.where(alike & ~own, -1e9, logits.astype(jnp.float32))
    to_clip = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1))
    to_query = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0))
    return (to_clip.mean() + to_query.mean()) / 2


class PersonContrast:
    """The loss of both trainings: on photos of people (§4.3.1), and on clips of people who do something (CiA)."""

    def __init__(self, model: ClipPad):
        self.model = model

    def __call__(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Args: batch: as `storyjax.clip_pad.data` gives it: frames and faces, or clips and descriptions
        where the frozen networks have looked before, and face_valid, ids, slots, facts ... `key` draws the words that
        stand for unknown names.
        """
        model = self.model
        if "clips" in batch:  # the frozen networks have looked before (storyjax/clip_pad/feature_cache.py)
            described, clips = mean_of_descriptions(batch["descriptions"], batch["face_valid"]), batch["clips"]
        else:
            described = model.mean_description(params, batch["faces"], batch["face_valid"])
            clips = model.embed_clips(params, batch["frames"])
        faces = model.tokens(params, described)
        # The slots FACE and WORD of data.py.
        tokens = jnp.concatenate([faces, model.unknown_words(key, len(faces))], axis=1)
        queries = model.embed_texts(params, batch["ids"], tokens, batch["slots"])
        logits = model.scale(params) * jnp.einsum("qp,cp->qc", queries, clips)
        alike = answers(batch["query_facts"], batch["query_place"], batch["facts"], batch["place"])
        # Both ways: a clip that answers my query, or my clip answering its query.
        loss = symmetric_contrast(logits, alike | alike.T)
        first = jnp.argmax(jnp.where(alike & ~jnp.eye(len(logits), dtype=bool), -jnp.inf, logits), axis=1)
        return loss, {"r1": (first == jnp.arange(len(logits))).astype(jnp.float32).mean()}
