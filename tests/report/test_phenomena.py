"""The paper's phenomena from two report cards, by hand-made cases."""

from thinkery.report.phenomena import by_part, phenomena

Card = dict[str, object]


def test_a_run_like_the_papers(cards: tuple[Card, Card]) -> None:
    rows = {row.number: row for row in phenomena(*cards)}
    assert list(rows) == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
    assert {number for number, row in rows.items() if row.seen} == {"P1", "P2", "P3", "P4", "P6", "P7"}
    assert rows["P3"].here == "cons@16 +57.0 points, pass@16 +22.0 points"
    assert rows["P7"].here == "level 1 41, level 5 97 tokens"


def test_touching_intervals_are_no_lift() -> None:
    before = {"k": 16, "pass@1": 0.20, "pass@1_ci95": [0.15, 0.25]}
    after = {"k": 16, "pass@1": 0.28, "pass@1_ci95": [0.24, 0.32]}
    assert [row.seen for row in phenomena(before, after)] == [False]


def test_hard_levels_that_gain_most() -> None:
    before = {"by_level": {"1": {"pass@1": 0.8}, "10": {"pass@1": 0.1}, "2": {"pass@1": 0.5}}}
    after = {"by_level": {"1": {"pass@1": 0.9}, "10": {"pass@1": 0.7}, "2": {"pass@1": 0.9}}}
    assert list(by_part(after, "by_level", "pass@1")) == ["1", "2", "10"]
    (row,) = phenomena(before, after)
    assert (row.number, row.seen, row.here) == ("P5", True, "level 1 +10.0 points, level 10 +60.0 points")


def test_numbers_that_are_not_there_are_no_rows() -> None:
    assert phenomena({}, {}) == []
    assert phenomena({"mean_thinking_length": 0.0}, {"mean_thinking_length": 5.0}) == []
    (row,) = phenomena({"reflection": 0.0}, {"reflection": 0.2})
    assert row.here == "0.0% → 20.0% of completions"
