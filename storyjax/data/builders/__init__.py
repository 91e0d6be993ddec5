"""TFDS builders, one for each data set, reading its official layout."""
