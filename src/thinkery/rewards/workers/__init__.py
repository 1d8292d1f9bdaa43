"""Processes for work that may hang: forked from a warm one, killed at a deadline. No isolation: see ``sandbox``."""
