"""TCR, the text-conditioned resampler (thesis Ch. 3)."""
