"""Stories: who does what, where and when, and what is said and asked about it."""
