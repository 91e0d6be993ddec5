"""A story in other programs' formats."""
