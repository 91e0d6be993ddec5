"""Strictness for the whole suite: shapes are checked, ranks never promoted silently, and no network is reached."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("STORYJAX_CACHE", "off")  # no test writes into the cache of whoever runs it
os.environ.setdefault("STORYJAX_MODELS", "off")  # nor takes weights from their models folder

import jax
from absl import flags
from jaxtyping import install_import_hook

install_import_hook("storyjax", "type_checker.check")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which nothing parses under pytest.
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
