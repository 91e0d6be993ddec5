"""π-map: retrieval of any particular object, with CLIP frozen on both sides (thesis Ch. 5)."""
