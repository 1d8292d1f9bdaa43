"""Policy -> completions, streamed as they finish."""

from thinkery.rollout.engine import NativeRollout
from thinkery.rollout.pieces import Piece, Resumable, fresh

__all__ = ["NativeRollout", "Piece", "Resumable", "fresh"]
