"""Calling rewards: one call a batch, deadlines, and errors that show the user's line and the completion."""

import math
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.types import Completion, Outcome, Problem, UserError, Verdict
from thinkery.user_code import shown_path

PATIENCE_S = 30.0


def row(text: str, *, problem_id: str = "p", index: int = 0, chat: bool = False, **columns: Any) -> GradedRow:
    prompt = ({"role": "user", "content": "How much?"},) if chat else "How much?"
    problem = Problem(problem_id, prompt, "42", level=3, language="zh", columns=columns)
    ids = tuple(range(len(text)))
    return GradedRow(problem, Completion(problem_id, index, (1,), ids, (0.0,) * len(ids), text, "stop", 0), CORRECT)


CORRECT = Verdict(Outcome.CORRECT)
NUMBERS = [row(text, index=index) for index, text in enumerate(["3", "1", "2", "5"])]
WITH_A_WORD = [row(text, index=index, problem_id="units-7") for index, text in enumerate(["3", "1", "forty", "5"])]


def values_of(
    reward: Any, rows: Sequence[GradedRow], *, on_error: Any = "stop", timeout_s: float = PATIENCE_S
) -> tuple[list[float | None], int]:
    values, errors = call_rewards({"mine": reward}, rows, on_error=on_error, timeout_s=timeout_s)
    return values["mine"], errors["mine"]


def refusal(reward: Any, rows: Sequence[GradedRow], **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        values_of(reward, rows, **settings)
    return str(caught.value)


def the_number(completions: list[str], **columns: Any) -> list[float]:
    return [float(int(text)) for text in completions]


def share_of_the_sum(completions: list[str], **columns: Any) -> list[float]:
    numbers = the_number(completions)
    return [number / sum(numbers) for number in numbers]


class Seen:
    """A reward that keeps what it was given."""

    def __call__(self, **given: Any) -> list[float]:
        self.given = given
        return [0.0] * len(given["completions"])


def test_rewards_are_given_trl_s_arguments_and_every_column() -> None:
    seen = Seen()
    values_of(seen, [row("a", task="sum", extra={"n": 1}), row("bc", problem_id="q", index=1, chat=True)])
    assert seen.given == {
        "prompts": ["How much?", [{"role": "user", "content": "How much?"}]],
        "completions": ["a", [{"role": "assistant", "content": "bc"}]],
        "completion_ids": [[0], [0, 1]],
        "reference": ["42", "42"],
        "verdict": [CORRECT, CORRECT],
        "problem_id": ["p", "q"],
        "domain": ["math", "math"],
        "level": [3, 3],
        "language": ["zh", "zh"],
        "task": ["sum", None],
        "extra": [{"n": 1}, None],
    }


def test_columns_that_are_called_like_an_argument_don_t_replace_it() -> None:
    seen = Seen()
    values_of(seen, [row("a", completions="b", prompts="c", completion_ids="d", verdict="e", level="f")])
    assert seen.given["completions"] == ["a"]
    assert seen.given["verdict"] == [CORRECT]
    assert seen.given["level"] == [3]


def test_what_a_reward_changes_no_other_sees() -> None:
    def vandal(prompts: Any, completions: Any, completion_ids: Any, extra: Any, **columns: Any) -> list[float]:
        prompts[0][0]["content"] = completions[0][0]["content"] = "vandalised"
        completion_ids[0].clear()
        extra[0]["n"].append(2)
        for column in (prompts, completions, completion_ids, extra, *columns.values()):
            column.clear()
        return [0.0]

    seen = Seen()
    rows = [row("a", chat=True, extra={"n": [1]})]
    call_rewards({"vandal": vandal, "seen": seen}, rows, on_error="stop", timeout_s=PATIENCE_S)
    assert seen.given["prompts"] == [[{"role": "user", "content": "How much?"}]]
    assert seen.given["completions"] == [[{"role": "assistant", "content": "a"}]]
    assert seen.given["completion_ids"] == [[0]]
    assert seen.given["extra"] == [{"n": [1]}]
    assert seen.given["verdict"] == [CORRECT]
    assert rows == [row("a", chat=True, extra={"n": [1]})]


def test_no_completions_need_no_call() -> None:
    assert call_rewards({"mine": share_of_the_sum}, [], on_error="stop", timeout_s=1) == ({"mine": []}, {"mine": 0})


@pytest.mark.parametrize("on_error", ["stop", "zero"])
def test_rewards_see_the_whole_batch_at_once_when_nothing_fails(on_error: Any) -> None:
    calls = []

    def rank(completions: list[str], **columns: Any) -> list[float]:
        calls.append(completions)
        return [float(sorted(completions).index(text)) for text in completions]

    assert values_of(rank, NUMBERS, on_error=on_error) == ([2.0, 0.0, 1.0, 3.0], 0)
    assert len(calls) == 1


# What may be returned


@pytest.mark.parametrize(
    "returned",
    [
        [1, 0.5, None, True],
        (1.0, 0.5, None, True),
        [np.float32(1), np.float64(0.5), None, np.bool_(True)],
        [torch.tensor(1.0), torch.tensor([0.5]), None, torch.tensor(True)],
        [Fraction(1), Fraction(1, 2), None, np.int64(1)],
        [np.array(1.0), np.array([0.5]), None, 1],
    ],
)
def test_numbers_of_every_kind_become_floats(returned: Any) -> None:
    values, errors = values_of(lambda **given: returned, NUMBERS)
    assert values == [1.0, 0.5, None, 1.0]
    assert [type(value) for value in values] == [float, float, type(None), float]
    assert errors == 0


@pytest.mark.parametrize(
    "returned",
    [
        np.array([1, 2, 3, 4], dtype=np.float16),
        np.array([1, 2, 3, 4]),
        torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True),
        torch.tensor([1, 2, 3, 4], dtype=torch.bfloat16),
    ],
)
def test_arrays_and_tensors_are_lists(returned: Any) -> None:
    assert values_of(lambda **given: returned, NUMBERS) == ([1.0, 2.0, 3.0, 4.0], 0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (math.nan, "returned nan as a value"),
        (-math.inf, "returned -inf as a value"),
        (np.float32("nan"), "returned nan as a value"),
        (torch.tensor(math.inf), "returned inf as a value"),
        (10**400, "returned a number too large for a float"),
        ("0.5", "returned '0.5' (a str)"),
        ([0.5], "returned [0.5] (a list)"),
        (Decimal(1), "returned Decimal('1') (a Decimal)"),
        (1j, "returned 1j (a complex)"),
        (np.zeros(2), "returned a whole ndarray"),
        (torch.zeros(2), "returned a whole Tensor"),
        ({"score": 1.0}, "returned {'score': 1.0} (a dict)"),
    ],
)
def test_a_bad_value_is_shown_with_its_completion_or_counted(bad: Any, said: str) -> None:
    def reward(**given: Any) -> list[Any]:
        return [1.0, 2.0, bad, 4.0]

    message = refusal(reward, WITH_A_WORD)
    assert message.startswith(f"reward 'mine' {said}")
    assert "a finite number, or None where the reward does not apply" in message
    assert "completion 2 of problem 'units-7': 'forty'" in message
    assert "reward_errors: zero" in message
    assert values_of(reward, WITH_A_WORD, on_error="zero") == ([1.0, 2.0, 0.0, 4.0], 1)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None, not a list with one value for each completion"),
        (1.0, "returned a float, not a list"),
        ("1111", "returned a str, not a list"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "returned a dict, not a list"),
        ({1.0, 2.0, 3.0, 4.0}, "returned a set, not a list"),
        (np.array(1.0), "returned a ndarray, not a list"),
        ([1.0, 2.0], "returned 2 values for 4 completions"),
        (torch.zeros(5), "returned 5 values for 4 completions"),
        (np.zeros((4, 2)), "returned [0.0, 0.0] (a list) as a value"),
    ],
)
def test_what_is_no_list_of_values_is_refused(returned: Any, said: str) -> None:
    assert refusal(lambda **given: returned, NUMBERS).startswith(f"reward 'mine' {said}")
    assert values_of(lambda **given: returned, NUMBERS, on_error="zero") == ([0.0] * 4, 4)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.fractions() | st.complex_numbers()
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner))


@pytest.mark.slow
@settings(max_examples=60)
@given(returned=st.lists(anything, max_size=4) | anything)
def test_whatever_is_returned_the_values_are_finite_and_the_failures_counted(returned: Any) -> None:
    values, errors = values_of(lambda **given: returned, NUMBERS, on_error="zero")
    assert len(values) == 4
    assert all(value is None or (type(value) is float and math.isfinite(value)) for value in values)
    try:
        assert values_of(lambda **given: returned, NUMBERS) == (values, 0)
        assert errors == 0
    except UserError:
        assert errors >= 1


# Exceptions


def test_an_exception_names_the_reward_the_line_and_the_completion() -> None:
    message = refusal(the_number, WITH_A_WORD)
    head, place, completion, advice = message.splitlines()
    assert head == "reward 'mine' raised ValueError: invalid literal for int() with base 10: 'forty'"
    line = the_number.__code__.co_firstlineno + 1
    code = "return [float(int(text)) for text in completions]"
    assert place == f"  at {shown_path(Path(__file__))}, line {line}: {code}"
    assert completion == "  for completion 2 of problem 'units-7': 'forty'"
    assert "reward_errors: zero" in advice


def test_a_long_completion_is_shortened_in_the_middle() -> None:
    message = refusal(the_number, [row("1"), row("begin" + "x" * 10_000 + "\nend", index=1)])
    shown = message.splitlines()[2]
    assert "'beginxxx" in shown
    assert "xxx\\nend'" in shown
    assert len(message) < 1500


def test_failing_completions_can_count_as_zero() -> None:
    assert values_of(the_number, WITH_A_WORD, on_error="zero") == ([3.0, 1.0, 0.0, 5.0], 1)
    assert values_of(the_number, [row("a"), row("b")], on_error="zero") == ([0.0, 0.0], 2)


@pytest.mark.filterwarnings("ignore:coroutine")
def test_an_async_function_is_awaited_in_the_users_process_alone() -> None:
    async def later(completions: list[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    assert refusal(later, NUMBERS).startswith("reward 'mine' returned a coroutine, not a list")


def test_the_rest_of_the_batch_is_still_compared_with_one_another() -> None:
    values, errors = values_of(share_of_the_sum, WITH_A_WORD, on_error="zero")
    assert values == [3 / 9, 1 / 9, 0.0, 5 / 9]
    assert errors == 1


def test_a_completion_that_fails_only_for_being_alone_is_not_blamed() -> None:
    def spread(completions: list[str], **columns: Any) -> list[float]:
        numbers = the_number(completions)
        if len(numbers) < 2:
            raise ValueError("a spread of one")
        return numbers

    assert "completion 2 of problem 'units-7': 'forty'" in refusal(spread, WITH_A_WORD)
    assert values_of(spread, WITH_A_WORD, on_error="zero") == ([3.0, 1.0, 0.0, 5.0], 1)


def test_a_failure_that_no_single_completion_causes_is_said_to_be_the_batch_s() -> None:
    def crowd(completions: list[str], **columns: Any) -> list[float]:
        assert len(completions) < 4, "a crowd"
        return [1.0] * len(completions)

    message = refusal(crowd, NUMBERS)
    assert message.startswith("reward 'mine' raised AssertionError: a crowd")
    assert "in a batch of 4 completions; no single one was found" in message
    assert values_of(crowd, NUMBERS, on_error="zero") == ([0.0] * 4, 4)


def test_a_failure_that_does_not_come_back_costs_nothing() -> None:
    calls = []

    def flaky(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        if len(calls) == 1:
            raise ConnectionError("try again")
        return the_number(completions)

    assert values_of(flaky, NUMBERS, on_error="zero") == ([3.0, 1.0, 2.0, 5.0], 0)
    assert calls == [4, 1, 1, 1, 1, 4]


def test_a_reward_that_leaves_out_a_completion_is_found_out() -> None:
    def skips(completions: list[str], **columns: Any) -> list[float]:
        return [float(text) for text in completions if text.isdigit()]

    message = refusal(skips, WITH_A_WORD)
    assert message.startswith("reward 'mine' returned 3 values for 4 completions")
    assert "completion 2 of problem 'units-7': 'forty'" in message
    assert values_of(skips, WITH_A_WORD, on_error="zero") == ([3.0, 1.0, 0.0, 5.0], 1)


def test_leaving_the_program_is_an_error_like_others() -> None:
    def leaves(**given: Any) -> list[float]:
        raise SystemExit(3)

    assert refusal(leaves, NUMBERS).startswith("reward 'mine' raised SystemExit: 3")


def test_one_reward_s_errors_are_not_another_s() -> None:
    rewards: dict[str, Any] = {"broken": the_number, "whole": lambda **given: [0.5] * 4}
    values, errors = call_rewards(rewards, WITH_A_WORD, on_error="zero", timeout_s=PATIENCE_S)
    assert values["whole"] == [0.5] * 4
    assert errors == {"broken": 1, "whole": 0}


def test_a_mistake_of_the_recipe_s_is_never_counted_as_zero() -> None:
    def misconfigured(**given: Any) -> list[float]:
        raise UserError("no such column")

    assert refusal(misconfigured, NUMBERS, on_error="zero") == "no such column"


# Deadlines


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that is set only when the test is over, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("on_error", ["stop", "zero"])
def test_a_reward_that_never_ends_is_a_missed_deadline(never: threading.Event, on_error: Any) -> None:
    def hangs(completions: list[str], **columns: Any) -> list[float]:
        never.wait()
        return the_number(completions)

    message = refusal(hangs, NUMBERS, timeout_s=0.5, on_error=on_error)
    assert message.startswith("reward 'mine' gave no answer within 0.5 s for 4 completions")
    assert f"test_calling.py, line {hangs.__code__.co_firstlineno + 1}: never.wait()" in message


def test_a_missed_deadline_is_said_before_others_begin(never: threading.Event) -> None:
    def hangs(completions: list[str], **columns: Any) -> list[float]:
        never.wait()
        return the_number(completions)

    seen = Seen()
    with pytest.raises(UserError, match="'hangs' gave no answer"):
        call_rewards({"hangs": hangs, "seen": seen}, NUMBERS, on_error="stop", timeout_s=0.5)
    assert not hasattr(seen, "given")


def test_the_search_for_a_completion_ends_with_the_deadline(never: threading.Event) -> None:
    def hangs_alone(completions: list[str], **columns: Any) -> list[float]:
        if len(completions) == 1:
            never.wait()
        raise ValueError("all of you")

    assert "no single one was found" in refusal(hangs_alone, NUMBERS, timeout_s=1.0)
    assert values_of(hangs_alone, NUMBERS, timeout_s=1.0, on_error="zero") == ([0.0] * 4, 4)


def test_the_module_needs_no_torch() -> None:
    source = Path(call_rewards.__code__.co_filename).read_text(encoding="utf-8")
    assert "import torch" not in source
    assert "import numpy" not in source
