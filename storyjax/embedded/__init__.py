"""Small towers (a CLIP, a T5) trained on StoryWorld, which the embedded runs keep frozen."""
