"""Is what the policy writes still language? Two figures of every step, whatever is rewarded.

Left out: lengths and reflection (``reading.py``), and what the reward sees.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import cache

from thinkery.models.loading import Policy
from thinkery.models.template import Template
from thinkery.rewards.language import language_proportion
from thinkery.rewards.repetition import ends_in_loop
from thinkery.rewards.texts.scripts import require_language
from thinkery.stages.reading import thinking_of
from thinkery.types import Completion, Group, UserError


def health_metrics(groups: Sequence[Group], policy: Policy) -> dict[str, float]:
    """``incoherent`` and ``language``, over all completions of a step.

    ``incoherent``: the share that is cut off, malformed, or ends its thinking or its answer in a loop (DeepSeek-R1
    samples its last RL at a temperature of 0.7, since at 1 much is incoherent). ``language``: the mean share of the
    thinking's words that are in the question's language, as the reward ``language`` reads it by default; over
    completions with words, of problems in a language that can be told apart, and left out where there are none.
    """
    completions = [completion for group in groups for completion in group.completions_G]
    shares = [
        language_proportion(thinking_of(completion, policy), group.problem.language)
        for group in groups
        if _can_be_told(group.problem.language)
        for completion in group.completions_G
    ]
    known = [share for share in shares if share is not None]
    metrics = {"incoherent": statistics.fmean(_incoherent(completion, policy.template) for completion in completions)}
    return metrics | ({"language": statistics.fmean(known)} if known else {})


def _incoherent(completion: Completion, template: Template) -> bool:
    parsed = template.parse(completion.text)
    if completion.finish_reason == "length" or not parsed.well_formed:
        return True
    return any(ends_in_loop(part) for part in (parsed.thinking, parsed.answer) if part)


@cache
def _can_be_told(language: str) -> bool:
    try:
        require_language(language)
    except UserError:
        return False
    return True
