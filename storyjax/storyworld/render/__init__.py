"""From stories to media files: frames, sound and speech."""
