"""One training loop for every chapter."""
