"""The SAM2 network for single images: sizes, weights, and which of its parts train.

Needs the extra `train` (torch, sam2). Nothing here is imported by the rest of the core at start-up.
"""
