"""Training of the small networks that ship with the package: CLIPs, T5s, face, voice and laughter encoders, resamplers.

They are trained on StoryWorld, and the embedded variants of the configs keep them frozen.
"""
