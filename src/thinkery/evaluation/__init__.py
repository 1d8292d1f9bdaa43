"""Groups -> figures: avg@k, pass@k and cons@k with intervals, reflection words, and the summary that reports quote.

Works on graded groups (``types.Group``) and never grades itself: training and evaluation share one verifier.
"""

from thinkery.evaluation.summary import summarize

__all__ = ["summarize"]
