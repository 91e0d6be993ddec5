"""Finding particular people and things in images and videos: a gallery of who is who, and an index of what is where."""
