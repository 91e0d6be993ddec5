"""Learnt tokens in a file, by name: what is left of a personalisation (§5.3.5, "From π-map to the text embedding").

    python -m storyjax.pi_map.tokens RUN FILE.safetensors

writes the tokens of the objects that the run in the folder RUN has learnt.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.params_io import load_flat, load_metadata, save_tree

Token = Float[np.ndarray, "c w"]


def save_tokens(path: str | Path, tokens: Mapping[str, Token], fingerprint: str) -> None:
    """Writes tokens with the names they go by and the fingerprint of the weights that they are meant for."""
    names = list(tokens)
    arrays = {f"token_{i}": np.asarray(tokens[name], np.float32) for i, name in enumerate(names)}
    save_tree(path, arrays, {"names": json.dumps(names), "fingerprint": fingerprint})


def load_tokens(path: str | Path, fingerprint: str | None = None) -> dict[str, Token]:
    """Tokens by name. Raises StoryjaxError where they are of other weights than `fingerprint`'s, or are no tokens."""
    flat, metadata = load_flat(path), load_metadata(path)
    try:
        names = json.loads(metadata["names"])
        tokens = {name: flat[f"token_{i}"] for i, name in enumerate(names)}
    except (KeyError, ValueError) as error:
        raise StoryjaxError(
            f"{path} holds no tokens ({error} is missing); write it with storyjax.pi_map.tokens"
        ) from error
    if fingerprint is not None and metadata.get("fingerprint") != fingerprint:
        raise StoryjaxError(f"the tokens in {path} were learnt with other weights; learn them again with these")
    return tokens


def find_token(tokens: Mapping[str, Token], name: str, where: str) -> Token:
    """The token of a name; StoryjaxError names the nearest."""
    if name not in tokens:
        raise StoryjaxError(f"{where} has no token for '{name}'.{nearest(name, tokens)}")
    return tokens[name]


def learnt_tokens(run: str | Path) -> tuple[dict[str, Token], str]:
    """The tokens of all objects of a finished run of `configs/pi_map_*.py`, and the fingerprint of its CLIP."""
    from storyjax.core.config import from_config
    from storyjax.core.params_io import unflatten
    from storyjax.pi_map.config import frozen_embed, make_model
    from storyjax.pi_map.experiment import PersonalData, open_collection
    from storyjax.pi_map.predict import clip_fingerprint
    from storyjax.train.checkpoint import load_trainable

    run = Path(run)
    try:
        config = ConfigDict(json.loads((run / "config.json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{run} is no run: config.json cannot be read ({error})") from error
    model, section = make_model(config.model)
    data = from_config(PersonalData, config.data, "config.data")
    clip = section.clip.parameters()
    collection = open_collection(data, frozen_embed(model, clip), model.config.vision.image_size, config.seed)
    params = {"pi": unflatten(load_trainable(run))["pi"]}
    mapped = np.asarray(model.tokens(params, jnp.asarray(collection.templates.local)))
    tokens = {
        thing.name: mapped[collection.templates.objects == number].mean(axis=0, keepdims=True)
        for number, thing in enumerate(collection.objects)
    }
    return tokens, clip_fingerprint(clip)


def main(arguments: Sequence[str]) -> int:
    """Writes a run's tokens; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m storyjax.pi_map.tokens RUN FILE.safetensors", file=sys.stderr)
        return 2
    try:
        tokens, fingerprint = learnt_tokens(arguments[0])
        save_tokens(arguments[1], tokens, fingerprint)
    except StoryjaxError as error:
        print(f"storyjax: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(tokens)} tokens: {', '.join(tokens)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
