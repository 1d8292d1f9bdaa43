"""Prose in many languages: what of a text are words, in which script, in which language."""
