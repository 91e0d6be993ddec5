"""Whole published networks: ViT, T5, CLIP, SigLIP, Q-Former, Deformable DETR, ResNets and audio networks."""
