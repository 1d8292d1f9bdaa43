"""Thinkery trains reasoning models the way DeepSeek-R1 was trained: the whole ladder as one resumable run."""

__version__ = "0.1.0"
