"""Policy -> completions, streamed as they finish."""

from thinkery.rollout.engine import NativeRollout

__all__ = ["NativeRollout"]
