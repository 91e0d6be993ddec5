"""Blocks that two or more chapters use."""
