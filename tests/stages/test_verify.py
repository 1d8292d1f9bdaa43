"""``thinkery verify``: what is wrong with a file of problems, by line."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, RewardSpec
from thinkery.rewards import Grader, GraderSpec
from thinkery.stages.decontaminate import decontaminate_problems
from thinkery.stages.verify import VerifyReport, verify_problems
from thinkery.types import Completion, Outcome, Problem, UserError

pytestmark = pytest.mark.slow


def write(path: Path, *rows: dict[str, Any] | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def lines_of(report: VerifyReport) -> list[str]:
    return report.render().splitlines()


def test_a_good_file_is_accepted_and_described(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl",
        {"prompt": "6*7?", "answer": 42, "level": 1},
        {"prompt": "八加九？", "answer": "17", "level": 2, "language": "zh"},
        {"prompt": "A half as a fraction?", "answer": "\\frac{1}{2}", "level": 2},
    )
    told: list[tuple[str, int, int]] = []
    report = verify_problems(source, progress=lambda what, done, total: told.append((what, done, total)))
    assert report.ok
    assert lines_of(report) == [
        f"{source}: 3 problems",
        "  plain: prompt = prompt, reference = answer",
        "  verifier: math 3",
        "  language: en 2, zh 1",
        "  level: 1 1, 2 2",
        "3 of 3 references are accepted by their verifier",
    ]
    assert told[-1] == ("checking references", 3, 3)


def test_everything_that_is_wrong_is_listed_by_line(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl",
        '{"prompt": "cut off',
        {"prompt": "6*7?", "answer": "42"},
        {"prompt": "6*8?", "answer": ""},
        {"prompt": "", "answer": "1"},
        {"prompt": "no answer"},
        "[1]",
        {"prompt": "6 * 7 ?", "answer": "42"},
        {"prompt": "Say \\boxed{7}, please.", "answer": "7"},
        {"prompt": "the same id", "answer": "5", "id": "a-2"},
    )
    report = verify_problems(source)
    assert not report.ok
    assert lines_of(report) == [
        f"{source}: 4 problems",
        "  plain: prompt = prompt, reference = answer",
        "  verifier: math 4",
        "  language: en 4",
        "3 of 4 references are accepted by their verifier",
        "rows that can't be read: 5",
        f"  {source}, line 1: column 12: not JSON: Unterminated string starting at",
        f"  {source}, line 4: the field prompt must be text that is not empty, not ''",
        f"  {source}, line 5: the field answer must be text or a number, not null",
        f'  {source}, line 6: write an object like {{"prompt": "What is 2+2?", "answer": "4"}}, not a list',
        f"  {source}, line 9: the id 'a-2' is that of {source}, line 2; ids must differ: correct them, or number the "
        "rows with columns: {id: null}",
        "references that are not accepted: 1",
        f"  {source}, line 3: '': reference_unparseable: the reference is empty",
        "prompts that hold their own answer: 1",
        f"  {source}, line 8",
        "problems that repeat an earlier one (0 nearly): 1",
        f"  {source}, line 7: repeats {source}, line 2",
    ]


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    good = {"prompt": "6*7?", "answer": "42"}
    source = write(tmp_path / "a.jsonl", good, *({"prompt": f"{n}?", "answer": ""} for n in range(30)))
    listed = verify_problems(source).render(shown=5).splitlines()
    assert "references that are not accepted: 30" in listed
    assert "  and 25 more" in listed


def test_nothing_readable_is_an_error_and_names_are_checked(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"text": "t"}, {"text": "u"})
    with pytest.raises(UserError, match="line 1: the fields prompt and answer are missing; the row has text"):
        verify_problems(source)
    with pytest.raises(UserError, match="no such file"):
        verify_problems(str(tmp_path / "gone.jsonl"))
    with pytest.raises(UserError, match="there is no verifier 'maths'"):
        verify_problems(source, verifier="maths")
    with pytest.raises(UserError, match="--template r2: allowed: r1-zero, "):
        verify_problems(source, template="r2")


@pytest.mark.parametrize("template", ["r1-zero", "chat-think"])
def test_the_verifier_and_the_template_are_a_choice(template: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"Which one, {n}?", "answer": letter} for n, letter in enumerate("ABCD")]
    report = verify_problems(write(tmp_path / "a.jsonl", *rows), verifier="choice", template=template)
    assert report.ok
    assert "  verifier: choice 4" in lines_of(report)


def test_wrong_answers_that_are_accepted_are_named_and_equal_ones_are_not(tmp_path: Path) -> None:
    """The first program's tests call it and accept whatever it returns."""
    lax = {"language": "python", "unit_tests": "double(4)\nassert True", "entry_point": "double"}
    strict = {"language": "python", "unit_tests": "assert double(4) == 8", "entry_point": "double"}
    rows = [
        {"prompt": f"double {n}", "answer": tests, "verifier": "code", "solution_code": solution}
        for n, (tests, solution) in enumerate(
            [(lax, "def double(x):\n    return None"), (strict, "def double(x):\n    return 2 * x")]
        )
    ]
    report = verify_problems(write(tmp_path / "a.jsonl", *rows))
    assert report.ok
    assert {found.place for found in report.false_accepts} == {f"{tmp_path / 'a.jsonl'}, line 1"}
    equal = [{"prompt": "a", "answer": "1/2"}, {"prompt": "b", "answer": "0.5"}]
    assert verify_problems(write(tmp_path / "b.jsonl", *equal)).false_accepts == []


def test_code_without_a_solution_can_not_be_checked(tmp_path: Path) -> None:
    tests = {"language": "python", "unit_tests": "assert f() == 1", "entry_point": "f"}
    report = verify_problems(write(tmp_path / "a.jsonl", {"prompt": "f", "answer": tests}), verifier="code")
    assert report.ok
    assert report.unchecked == 1
    assert "without a solution to check their tests with: 1" in lines_of(report)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "size"),
    [("gsm8k_test.jsonl", 1319), ("rllm_math.json", 500), ("rllm_aime.json", 30), ("HumanEval.jsonl.gz", 164)],
)
def test_the_benchmarks_accept_their_own_answers(name: str, size: int, shared: Path) -> None:
    report = verify_problems(str(shared / "data" / name))
    assert report.ok
    assert f"{size:,} of {size:,} references are accepted by their verifier" in lines_of(report)
    assert report.false_accepts == []


@pytest.mark.shared
def test_a_broken_solution_of_humaneval_is_found(shared: Path, tmp_path: Path) -> None:
    text = gzip.decompress((shared / "data" / "HumanEval.jsonl.gz").read_bytes())
    rows = [json.loads(line) for line in text.splitlines()[:6]]
    rows[3]["canonical_solution"] = "    return None\n"
    report = verify_problems(write(tmp_path / "a.jsonl", *rows))
    assert [found.place for found in report.refused] == [f"{tmp_path / 'a.jsonl'}, line 4"]


ATTACKED = ("binary_matrix", "bitwise_arithmetic", "number_sorting", "countdown", "simple_integration")


def gym_rows(*families: str) -> list[dict[str, Any]]:
    """Rows as a person would write the problems of the source to a file."""
    source = open_source(ProblemSpec(source=f"gym://{','.join(families)}"))
    return [
        {"id": p.id, "prompt": p.prompt, "answer": p.reference, "verifier": p.verifier, "domain": p.domain, **p.columns}
        for p in source.draw(0, len(families))
    ]


def test_problems_of_reasoning_gym_written_to_a_file_are_made_anew(tmp_path: Path) -> None:
    """Also after ``decontaminate`` wrote them once more."""
    rows = gym_rows("chain_sum", "countdown", "caesar_cipher")
    output = tmp_path / "clean.jsonl"
    decontaminate_problems(write(tmp_path / "a.jsonl", *rows), against=[], output=output, deduplicate=True)
    report = verify_problems(str(output), pairs=0)
    assert (report.ok, len(report.problems)) == (True, 3), report.render()
    changed = (
        rows[0] | {"prompt": rows[0]["prompt"] + "!"},
        rows[1] | {"answer": "1"},
        rows[2] | {"gym": rows[0]["gym"]},
    )
    report = verify_problems(write(tmp_path / "b.jsonl", *changed), pairs=0)
    assert [place.rpartition(" ")[2] for place, _ in report.refused] == ["1", "2", "3"]
    assert all("was changed" in text for _, text in report.refused)


def test_a_row_that_would_run_code_is_a_bad_row_and_runs_none(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    attack = f"__import__('os').system('touch {witness}')"
    rows = []
    for row in gym_rows(*ATTACKED):
        metadata = {"source_dataset": row["family"], "problem": attack, "integrand": attack, "variable": "x"}
        entry = {"question": row["prompt"], "answer": attack, "metadata": metadata}
        rows.append({key: value for key, value in row.items() if key != "gym"} | {"gym_entry": repr(entry)})
        rows.append(row | {"answer": attack})
        rows.append(row | {"gym": row["gym"] | {"family": attack}})
        rows.append(row | {"gym": row["gym"] | {"entry": repr(entry)}})
    source = write(tmp_path / "a.jsonl", gym_rows("chain_sum")[0], *rows)
    command = [sys.executable, "-m", "thinkery", "verify", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done
    assert f"rows that can't be read: {3 * len(ATTACKED)}" in done.stdout
    assert "line 2: the field gym_entry must not be there" in done.stdout
    assert f"1 of {1 + len(ATTACKED)} references are accepted by their verifier" in done.stdout
    assert not witness.exists()


def test_an_answer_and_a_reference_that_are_code_run_in_no_verifier(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    attack = f"__import__('os').system('touch {witness}')"
    row = gym_rows("simple_integration")[0]
    shapes = [attack, f"$${attack}$$", f"x + {attack}", f"{{{attack}}}", f"```python\n{attack}\n```"]
    shapes += [f"\\{command}{{{attack}}}" for command in ("operatorname", "text", "mathrm", "boxed", "sqrt")]
    columns = {"choices": [attack, "b"], "gym": row["gym"], "constraints": [{"kind": attack}]}
    problems = [Problem(f"{name}/{n}", row["prompt"], shape, verifier=name, columns=columns)
                for name in ("math", "choice", "code") for n, shape in enumerate(shapes)]  # fmt: skip
    problems.append(Problem("gym", row["prompt"], row["answer"], verifier="gym", columns=columns))
    with Grader(GraderSpec(TEMPLATES["r1-zero"], {"accuracy": RewardSpec()}, max_completion_length=9)) as grader:
        for problem in problems:
            for index, shape in enumerate(shapes):
                text = f"<think>t</think><answer>{shape}</answer>"
                grader.submit(problem, Completion(problem.id, index, (1,), (2,), (0.0,), text, "stop", 0))
        groups = grader.collect(problems, len(shapes))
    assert {len(group.verdicts_G) for group in groups} == {len(shapes)}
    assert {verdict.outcome for verdict in groups[-1].verdicts_G} == {Outcome.WRONG}
    assert not witness.exists()
