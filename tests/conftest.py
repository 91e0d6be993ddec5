"""Strictness for the whole suite: shapes are checked, ranks never promoted silently, and no network is reached."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Most tests compile more than they compute: programs are compiled with little effort, but for those of OPTIMISED.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("STORYJAX_CACHE", "off")  # no test writes into the cache of whoever runs it
os.environ.setdefault("STORYJAX_MODELS", "off")  # nor takes weights from their models folder

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

install_import_hook("storyjax", "type_checker.check")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which nothing parses under pytest.
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()

_QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
# Tests that compute for long, or compare with numbers that were recorded of optimised programs.
OPTIMISED = ("e2e", "golden", "test_demos.py", "tcr/test_contrastive.py")


@pytest.fixture(autouse=True, scope="module")
def _optimised(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles the programs of some modules, and of processes that they start, as JAX does by default."""
    place = Path(str(request.path)).relative_to(Path(__file__).parent).as_posix()
    chosen = place.startswith(OPTIMISED) and os.environ.get(_QUICKLY) == "1"
    if chosen:
        jax.clear_caches()  # of programs that other modules compiled with little effort
        jax.config.update("jax_disable_most_optimizations", False)
        os.environ[_QUICKLY] = "0"
    yield
    if chosen:
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ[_QUICKLY] = "1"
