"""Policy -> completions, streamed as they finish."""

from thinkery.rollout.base import PartialCompletion, ResumableRollout, fresh
from thinkery.rollout.native.engine import NativeRollout

__all__ = ["NativeRollout", "PartialCompletion", "ResumableRollout", "fresh"]
