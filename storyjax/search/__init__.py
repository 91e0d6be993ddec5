"""Finding particular people and things in images and videos: a gallery of the enrolled, and an index of the media."""
