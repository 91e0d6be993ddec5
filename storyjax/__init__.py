"""storyjax: human-centric story understanding in video, in JAX and Flax."""

__version__ = "0.1.0"
