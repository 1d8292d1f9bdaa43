"""P8 to P12 and P22: what each stage of the ladder adds and costs (stages ``zero``, ``dev1`` to ``dev3``, ``r1``).

The stages' names: cold-start SFT makes ``dev1``, reasoning RL ``dev2``, the large SFT from base ``dev3``, RL for all
scenarios ``r1``. Held-out sets: ``reasoning``, ``general`` (judged), ``few-shot``.
"""

from __future__ import annotations

from thinkery.mini.phenomena.claims import Finding, above_zero, with_interval
from thinkery.mini.phenomena.ladder import Column, Ladder
from thinkery.mini.phenomena.reasoning import second_less_first

GENERAL, FEW_SHOT = "general", "few-shot"


def _preference(model: str) -> Column:
    return Column(model, "preference", GENERAL)


def cold_start_repairs_instructions(ladder: Ladder) -> Finding:
    """P8: instructions with a checkable constraint, Dev1 less Zero."""
    table = ladder.table(Column("zero", benchmark=GENERAL), Column("dev1", benchmark=GENERAL))
    gain = ladder.estimate(second_less_first, table)
    zero, dev1 = table.means()
    here = {"zero": zero, "dev1": dev1, **with_interval("gain", gain)}
    return Finding([above_zero("Dev1's pass@1 on instructions less Zero's", gain, table.over)], here)


def cold_start_drops_reasoning(ladder: Ladder) -> Finding:
    """P9: Zero less Dev1 on reasoning."""
    table = ladder.table(Column("dev1"), Column("zero"))
    drop = ladder.estimate(second_less_first, table)
    dev1, zero = table.means()
    here = {"zero": zero, "dev1": dev1, **with_interval("drop", drop)}
    return Finding([above_zero("Zero's pass@1 less Dev1's", drop, table.over)], here)


def reasoning_rl_recovers(ladder: Ladder) -> Finding:
    """P10: Dev2 above Dev1 on reasoning, while its win rate moves by less than half of what the last RL adds (P12).

    The second is a test of equivalence: the change lies above minus the margin and below it.
    """
    reasoning, general = ladder.tables(
        ([Column("dev1"), Column("dev2")], None),
        ([_preference(model) for model in ("dev1", "dev2", "dev3", "r1")], None),
    )
    gain = ladder.estimate(second_less_first, reasoning)
    change = ladder.estimate(second_less_first, general)
    below = ladder.estimate(lambda m: (m[..., 3] - m[..., 2]) / 2 - (m[..., 1] - m[..., 0]), general)
    above = ladder.estimate(lambda m: (m[..., 3] - m[..., 2]) / 2 + (m[..., 1] - m[..., 0]), general)
    margin = (general.means()[3] - general.means()[2]) / 2
    claims = [
        above_zero("Dev2's pass@1 less Dev1's", gain, reasoning.over),
        above_zero("half of the last RL's gain in win rate less Dev2's change of it", below, general.over),
        above_zero("half of the last RL's gain in win rate plus Dev2's change of it", above, general.over),
    ]
    dev1, dev2 = reasoning.means()
    here = {"dev1": dev1, "dev2": dev2, **with_interval("gain", gain)}
    return Finding(claims, here | with_interval("preference_change", change) | {"preference_margin": margin})


def large_sft_broadens(ladder: Ladder) -> Finding:
    """P11: Dev3 less Dev2 on code and on general problems that a rule can check, the two with the same weight."""
    code, general = ladder.tables(
        ([Column("dev2"), Column("dev3")], "code"),
        ([Column(model, benchmark=GENERAL) for model in ("dev2", "dev3")], "general"),
    )
    gain = ladder.estimate(lambda m: ((m[..., 1] - m[..., 0]) + (m[..., 3] - m[..., 2])) / 2, code, general)
    names = ("code_dev2", "code_dev3", "general_dev2", "general_dev3")
    here = dict(zip(names, [*code.means(), *general.means()], strict=True))
    claim = above_zero("Dev3's pass@1 less Dev2's", gain, f"{code.over} and {general.over}")
    return Finding([claim], here | with_interval("gain", gain))


def last_rl_lifts_preference(ladder: Ladder) -> Finding:
    """P12: the win rate's gain from Dev3 to R1 is real, and larger than that of pass@1 on reasoning."""
    general, reasoning = ladder.tables(
        ([_preference("dev3"), _preference("r1")], None), ([Column("dev3"), Column("r1")], None)
    )
    gain = ladder.estimate(second_less_first, general)
    solved = ladder.estimate(second_less_first, reasoning)
    more = ladder.estimate(lambda m: (m[..., 1] - m[..., 0]) - (m[..., 3] - m[..., 2]), general, reasoning)
    claims = [
        above_zero("R1's win rate less Dev3's", gain, general.over),
        above_zero("the win rate's gain less that of pass@1", more, f"{general.over} and {reasoning.over}"),
    ]
    dev3, r1 = general.means()
    here = {"dev3_preference": dev3, "r1_preference": r1, **with_interval("preference_gain", gain)}
    return Finding(claims, here | with_interval("pass@1_gain", solved))


def few_shot_degrades(ladder: Ladder) -> Finding:
    """P22: R1's pass@1 on the same problems, asked plainly less asked after examples."""
    table = ladder.table(Column("r1", benchmark=FEW_SHOT), Column("r1"))
    loss = ladder.estimate(second_less_first, table)
    few, plain = table.means()
    here = {"zero_shot": plain, "few_shot": few, **with_interval("loss", loss)}
    return Finding([above_zero("the loss in pass@1 by examples", loss, table.over)], here)
