"""The story of a film: who is in it, when, with whom, doing what, saying what; as one database."""
