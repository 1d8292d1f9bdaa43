"""The miniature world: what a small model can learn to think about on two CPU cores.

It is a package like anybody's: nothing below imports it, and recipes find it by its entry points (``plugin.py``,
``preference.py``, ``translation.py``, ``report.py``). ``plugin.py`` draws problems and the corpus from the domains;
``phenomena`` tests on a run what the DeepSeek-R1 paper saw.
"""
