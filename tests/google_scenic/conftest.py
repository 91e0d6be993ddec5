"""Lets the tests of this folder import its experiment, and the toy that it is made of."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "train")]
