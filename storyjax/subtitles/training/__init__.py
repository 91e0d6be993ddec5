"""Training of the small networks of this chapter on StoryWorld, each an experiment of the one loop."""
