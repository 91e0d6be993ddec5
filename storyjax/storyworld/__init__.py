"""StoryWorld: a seeded world of stories, rendered to real media files."""
