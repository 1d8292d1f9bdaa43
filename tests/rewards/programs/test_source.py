from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.rewards.programs.source import code_blocks, fenced, find_program, join_prompt
from thinkery.rewards.programs.tests import CodeTests, StdinTests, UnitTests

PROGRAM = "print(int(input()) + 1)\n"


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>easy</think><answer>```python\n{PROGRAM}```</answer>",
        f"<think>easy</think>\nHere it is:\n```python\n{PROGRAM}```\nIt adds one.",
        f"```py\n{PROGRAM}```",
        f"```Python3\r\n{PROGRAM}```\r\n",
        f"~~~python\n{PROGRAM}~~~",
        f"````python title=x\n{PROGRAM}````",
        f"```{{.python}}\n{PROGRAM}```",
        f"  ```python\n  {PROGRAM}  ```",
        f"```\n{PROGRAM}```",
        f"```python\nfirst try\n```\nNo, better:\n```python\n{PROGRAM}```",
        f"```python\n{PROGRAM}```\nFor 1 it prints\n```\n2\n```",
        f"```python\n{PROGRAM}```\n```text\n2\n```",
        f"<think>```python\nprint(0)\n```</think>```python\n{PROGRAM}```",
    ],
)
def test_the_last_block_in_the_language_is_the_program(completion: str) -> None:
    assert find_program(completion, "python") == (PROGRAM, "")


def test_an_answer_tag_without_a_block_is_the_program_itself() -> None:
    assert find_program(f"<think>a</think><answer>{PROGRAM}</answer>", "python") == (PROGRAM, "")


def test_the_whole_answer_is_the_program_only_where_it_continues_a_prompt() -> None:
    assert find_program("    return x\n", "python", continues=True) == ("    return x\n", "")
    assert find_program("    return x\n", "python")[0] is None


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("<think>never ends ```python\nprint(1)\n```", "the thinking never ends"),
        ("<think>a</think>The answer is 3.", "neither a code block nor an answer tag after the thinking"),
        (f"```python\n{PROGRAM}", "the last code block never ends"),
        (f"```python\n{PROGRAM}```\n```python\ncut off", "the last code block never ends"),
        (f"````python\n{PROGRAM}```", "the last code block never ends"),
        ("```python\n```", "the program is empty"),
        ("<answer> \n</answer>", "the program is empty"),
        ("```javascript\n1\n```", "the code block says 'javascript' where python is asked for"),
        ("```cpp\nint main() {}\n```", "the code block says 'cpp' where python is asked for"),
        ("```python\n" + "#" * 200_000 + "\n```", "the program is longer than 131072 characters"),
        ("```python print(1)```", "neither a code block nor an answer tag after the thinking"),
    ],
)
def test_what_is_no_program_is_refused_with_the_reason(completion: str, reason: str) -> None:
    assert find_program(completion, "python") == (None, reason)


def test_cpp_programs_are_found_by_their_own_tags() -> None:
    source = "int main() {}\n"
    for tag in ("cpp", "c++", "C++", "cc", ""):
        assert find_program(f"```{tag}\n{source}```", "cpp") == (source, "")


def test_characters_that_only_look_like_line_ends_stay_inside_the_program() -> None:
    source = "print('\u2028 \x0b \x0c')\n"
    assert find_program(f"```python\n{source}```", "python") == (source, "")


def test_a_program_that_only_continues_the_prompt_is_joined_to_it() -> None:
    prompt = 'import math\n\ndef f(x):\n    """Twice x."""\n'
    tests = CodeTests("python", UnitTests("f", "assert f(1) == 2"), prompt)
    assert join_prompt("    return 2 * x\n", tests) == prompt + "    return 2 * x\n"
    assert join_prompt("def f(x):\n    return 2 * x\n", tests) == "def f(x):\n    return 2 * x\n"
    assert join_prompt("def g(x): pass\nf = g\n", tests) == "def g(x): pass\nf = g\n"
    assert join_prompt("print(1)", CodeTests("python", StdinTests(()), prompt)) == "print(1)"


@given(st.text(), st.booleans(), st.booleans())
def test_any_completion_has_a_program_or_a_reason(completion: str, continues: bool, prefilled: bool) -> None:
    program, reason = find_program(completion, "python", continues=continues, prefilled_think=prefilled)
    assert (program is None) == bool(reason)


@given(
    st.lists(
        st.sampled_from(["```", "~~~~", "```python", "\n", "x", "<think>", "</think>", "<answer>", "</answer>", " "])
    )
)
def test_any_mixture_of_marks_has_a_program_or_a_reason(parts: list[str]) -> None:
    program, reason = find_program("".join(parts), "python")
    assert (program is None) == bool(reason)
    assert program is None or program.strip()


@given(st.text(alphabet=st.characters(exclude_characters="\r", exclude_categories=["Cs"])))
def test_any_program_is_read_back_from_its_fence(source: str) -> None:
    blocks, complete = code_blocks(fenced(source, "python"))
    assert complete
    assert [block.source for block in blocks] == [source.rstrip() + "\n"]


def test_reading_a_long_completion_takes_linear_time() -> None:
    # A quadratic reader would need hours for these.
    for part in ("```", "```python\n", " " * 8 + "`", "~" * 9 + "\n", "<answer>", "\t```x`\n"):
        find_program(part * 200_000, "python")
