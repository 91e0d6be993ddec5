"""What a person corrects in a story, which stays through every re-run and teaches the gallery."""
