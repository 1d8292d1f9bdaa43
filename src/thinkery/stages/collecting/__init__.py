"""The parts of ``stages/collect.py``: samples, what makes them readable, their rewriting, the finished set."""
