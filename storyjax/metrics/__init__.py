"""Metrics that chapters share; each is held to a hand-made example or to a well-kept library in tests."""
