"""The gallery of people and things that every command knows by name; see README.md."""
