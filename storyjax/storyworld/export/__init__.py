"""StoryWorld in the official file layouts of real data sets."""
