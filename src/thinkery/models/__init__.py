"""Hugging Face checkpoints in and out, the attention function, and the template that is kept with the weights.

Nothing is imported here: the template alone must not cost the seconds that torch takes.
"""
