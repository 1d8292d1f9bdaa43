"""Samples -> figures: avg@k, pass@k and cons@k with intervals, reflection words, the summary that reports quote, and
the paper's phenomena with their tests.

Works on verdicts that others gave and never grades itself: training and evaluation share one verifier.
"""

from thinkery.evaluation.samples import Samples, summarize

__all__ = ["Samples", "summarize"]
