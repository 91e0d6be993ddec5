"""CLIP-PAD: CLIP that knows a person by name or by face (thesis Ch. 4)."""
