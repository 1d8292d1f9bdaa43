"""From the graded samples of a problem to one number: avg@k, pass@k, cons@k; and how often a completion reflects.

Left out: intervals (``intervals.py``) and whole evaluations (``samples.py``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from thinkery.types import Verdict


def avg_at_k(verdicts_G: Sequence[Verdict]) -> float:
    """The share of correct samples, DeepSeek-R1's pass@1: ``sum_i p_i / k``."""
    return sum(verdict.correct for verdict in verdicts_G) / len(verdicts_G)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The unbiased estimate of P(at least one of k samples is correct) from n samples, c of them correct.

    ``1 - C(n-c, k) / C(n, k)`` (Chen et al. 2021, equation 1), as a product that does not overflow.
    """
    if not 1 <= k <= num_samples or not 0 <= num_correct <= num_samples:
        raise ValueError(f"pass@{k} of {num_correct} correct among {num_samples} samples is not defined")
    all_wrong = 1.0
    for i in range(k):  # the chance that draw i is wrong, given that all before it were
        all_wrong *= max(num_samples - num_correct - i, 0) / (num_samples - i)
    return 1.0 - all_wrong


def cons_at_k(verdicts_G: Sequence[Verdict]) -> float:
    """Whether the plurality answer of the k samples is correct (majority vote, Wang et al. 2023).

    Votes are counted over equivalence classes: all correct verdicts are one class, the others go by their answer's
    normal form. Samples without an answer don't vote. A tie counts for the share that the correct class has in it.
    """
    correct_votes = sum(verdict.correct for verdict in verdicts_G)
    wrong_votes = Counter(v.answer for v in verdicts_G if not v.correct and v.answer is not None)
    most = max([correct_votes, *wrong_votes.values()])
    if correct_votes < most or most == 0:
        return 0.0
    return 1.0 / (1 + sum(votes == most for votes in wrong_votes.values()))


ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
CHINESE = ("等等", "检查", "验算", "不对", "重新", "错")

# ASCII, so that a Chinese character next to an English word is a boundary.
_WORDS = re.compile(rf"\b(?:{'|'.join(ENGLISH)})\b|{'|'.join(CHINESE)}", re.IGNORECASE | re.ASCII)


def count_reflections(thinking: str) -> int:
    """Reflection words in a text: English ones as whole words, any case; Chinese ones anywhere."""
    return len(_WORDS.findall(thinking))


def reflection_share(thinkings: Sequence[str | None]) -> float:
    """The share of completions with at least one reflection word in their thinking; None is no thinking."""
    return sum(bool(_WORDS.search(thinking)) for thinking in thinkings if thinking) / max(len(thinkings), 1)


def reflections_per_completion(thinkings: Sequence[str | None]) -> float:
    """The mean number of reflection words per completion."""
    return sum(count_reflections(thinking) for thinking in thinkings if thinking) / max(len(thinkings), 1)
