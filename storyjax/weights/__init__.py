"""Weights in and out: safetensors, strict both ways."""
