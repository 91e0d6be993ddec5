"""The tasks of thesis Ch. 3 that need no language model: a head on the resampler (§3.6.3)."""
