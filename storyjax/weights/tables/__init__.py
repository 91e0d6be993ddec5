"""Rules from published parameter names to ours, a file for each kind of source."""
