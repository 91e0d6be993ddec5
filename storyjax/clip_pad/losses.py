"""The symmetric contrastive loss of queries and clips (§4.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from storyjax.clip_pad.model import ClipPad, mean_of_descriptions
from storyjax.train.experiment import Batch, Params

_ANY = -1


def answers(
    query_facts: Int[Array, "b f"], query_place: Int[Array, " b"], facts: Int[Array, "n p f"], place: Int[Array, " n"]
) -> Bool[Array, "b n"]:
    """Returns which of n clips match each query: the place is the same, and one performer has all queried facts.

    A query's -1 matches anything; a clip's absent performers have facts below -1.
    """
    performer = jnp.any(
        jnp.all((query_facts[:, None, None, :] == _ANY) | (query_facts[:, None, None, :] == facts[None]), axis=-1),
        axis=-1,
    )
    located = (query_place[:, None] == _ANY) | (query_place[:, None] == place[None])
    return performer & located


def symmetric_contrast(logits: Float[Array, "b b"], alike: Bool[Array, "b b"]) -> Float[Array, ""]:
    """Returns the mean cross-entropy in both directions.

    The i-th query belongs to the i-th clip; other pairs that are `alike` (the same person, or another clip that
    matches) are no negatives of each other.
    """
    own = jnp.eye(len(logits), dtype=bool)
    logits = jnp.where(alike & ~own, -1e9, logits.astype(jnp.float32))
    to_clip = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1))
    to_query = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0))
    return (to_clip.mean() + to_query.mean()) / 2


class PersonContrast:
    """The loss of both tasks: on photos of people (§4.3.1), and on clips of people doing something (CiA)."""

    def __init__(self, model: ClipPad):
        self.model = model

    def __call__(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the loss, and {"r1": fraction of queries whose own clip ranks first}.

        Args:
            batch: of `storyjax.clip_pad.data`: frames and faces (or clips and descriptions, if cached), face_valid,
                ids, slots, facts ...
            key: draws the vectors that stand for unknown names.
        """
        model = self.model
        if "clips" in batch:  # cached embeddings (feature_cache.py)
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
        # Symmetric: a clip that matches this query, or this query's clip matching the other query.
        loss = symmetric_contrast(logits, alike | alike.T)
        first = jnp.argmax(jnp.where(alike & ~jnp.eye(len(logits), dtype=bool), -jnp.inf, logits), axis=1)
        return loss, {"r1": (first == jnp.arange(len(logits))).astype(jnp.float32).mean()}
