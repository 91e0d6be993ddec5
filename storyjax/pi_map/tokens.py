"""Learned tokens in a file, by name (§5.3.5, "From π-map to the text embedding").

    python -m storyjax.pi_map.tokens RUN FILE.safetensors

writes the tokens of the objects of the run in the folder RUN.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.params_io import load_flat, load_metadata, save_tree, unflatten
from storyjax.pi_map.config import DataConfig, clip_square, frozen_embed, frozen_parameters, make_model
from storyjax.pi_map.experiment import open_collection
from storyjax.pi_map.predict import DEFAULT, clip_fingerprint
from storyjax.train.checkpoint import load_trainable
from storyjax.train.restore import open_trained

Token = Float[np.ndarray, "c w"]


def save_tokens(path: str | Path, tokens: Mapping[str, Token], fingerprint: str) -> None:
    """Writes tokens with their names and the fingerprint of the CLIP that they belong to."""
    names = list(tokens)
    arrays = {f"token_{i}": np.asarray(tokens[name], np.float32) for i, name in enumerate(names)}
    save_tree(path, arrays, {"names": json.dumps(names), "fingerprint": fingerprint})


def load_tokens(path: str | Path, fingerprint: str | None = None) -> dict[str, Token]:
    """Returns tokens by name.

    Raises:
        StoryjaxError: the file holds no tokens, or those of another CLIP than that of `fingerprint`.
    """
    flat, metadata = load_flat(path), load_metadata(path)
    try:
        names = json.loads(metadata["names"])
        tokens = {name: flat[f"token_{i}"] for i, name in enumerate(names)}
    except (KeyError, ValueError) as error:
        raise StoryjaxError(
            f"{path} holds no tokens ({error} is missing); write it with storyjax.pi_map.tokens"
        ) from error
    if fingerprint is not None and metadata.get("fingerprint") != fingerprint:
        raise StoryjaxError(f"the tokens in {path} were learned with other weights; learn them again with these")
    return tokens


def find_token(tokens: Mapping[str, Token], name: str, where: str) -> Token:
    """Returns the token of a name.

    Raises:
        StoryjaxError: there is none; the message names the nearest.
    """
    if name not in tokens:
        raise StoryjaxError(f"{where} has no token for '{name}'.{nearest(name, tokens)}")
    return tokens[name]


def learned_tokens(run: str | Path) -> tuple[dict[str, Token], str]:
    """Returns the tokens of all objects of a run of `configs/pi_map_*.py` by name, and the fingerprint of its CLIP.

    Raises:
        StoryjaxError: `run` is no run of a data set's personalisation, or its data set is not there.
    """
    trained = open_trained(run, default=DEFAULT, chapter="π-map", experiments=("pi_map",), parts=("clip",))
    config = trained.config
    model, section = make_model(config.model)
    data = from_config(DataConfig, config.data, "config.data")
    clip = frozen_parameters(section.clip)
    collection = open_collection(data, frozen_embed(model, clip), clip_square(model.config), config.seed)
    params = {"pi": unflatten(load_trainable(trained.folder))["pi"]}
    mapped = np.asarray(model.tokens(params, jnp.asarray(collection.templates.local)))
    tokens = {
        each.name: mapped[collection.templates.objects == number].mean(axis=0, keepdims=True)
        for number, each in enumerate(collection.objects)
    }
    return tokens, clip_fingerprint(clip)


def main(arguments: Sequence[str]) -> int:
    """Writes a run's tokens; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m storyjax.pi_map.tokens RUN FILE.safetensors", file=sys.stderr)
        return 2
    try:
        tokens, fingerprint = learned_tokens(arguments[0])
        save_tokens(arguments[1], tokens, fingerprint)
    except StoryjaxError as error:
        print(f"storyjax: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(tokens)} tokens: {', '.join(tokens)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
