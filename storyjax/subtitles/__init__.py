"""Named subtitles: who says what and when (thesis Ch. 6)."""
