"""Users' own rewards: real files in TRL's, verl's and OpenRLHF's signatures, and every mistake in words."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.custom import columns_of, is_custom, load_reward, require_columns, reward_files
from thinkery.rewards.interfaces import Reward, RewardContext
from thinkery.types import Completion, Outcome, Problem, UserError, Verdict

pytestmark = pytest.mark.slow

CONTEXT = RewardContext(TEMPLATES["r1-zero-compact"], 64)
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write() -> Write:
    """Writes a file of the user's, ``my_rewards.py`` unless told."""

    def write(source: str, path: str = "my_rewards.py") -> str:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(source, encoding="utf-8")
        return path

    return write


def rows(*texts: str, chat: bool = False, columns: Mapping[str, Any] | None = None) -> list[GradedRow]:
    prompt = ({"role": "user", "content": "2+2?"},) if chat else "2+2?"
    problem = Problem("p", prompt, "4", level=2, columns=columns or {})
    return [
        GradedRow(
            problem, Completion("p", index, (1,), (5, 6, 7), (0.0,) * 3, text, "stop", 0), Verdict(Outcome.CORRECT)
        )
        for index, text in enumerate(texts)
    ]


def values(reward: Reward, of: list[GradedRow], on_error: Any = "stop") -> list[float | None]:
    async def awaited(result: Any) -> Any:
        return await result

    def here(*arguments: Any, **columns: Any) -> Any:  # as the users' process calls it
        result = reward(*arguments, **columns)
        return asyncio.run(awaited(result)) if inspect.isawaitable(result) else result

    return call_rewards({"mine": here}, of, on_error=on_error, timeout_s=30)[0]["mine"]


def load(name: str, **options: Any) -> Reward:
    return load_reward(f"my_rewards.py:{name}", CONTEXT, **options)


def refused(spec: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_reward(spec, CONTEXT, **options)
    return str(caught.value)


# TRL

TRL_S_PAGE = r'''
import asyncio
import inspect
import re

def by_tokens(completion_ids, **kwargs):
    """Longer completions, in tokens."""
    return [float(len(ids)) for ids in completion_ids]

def by_characters(prompts, completions, completion_ids, **kwargs):
    return [float(len(completion)) for completion in completions]

def well_formed(completions, **kwargs):
    pattern = r"^<think>.*?</think><answer>.*?</answer>$"
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(pattern, content) else 0.0 for content in contents]

def boxed(completions, ground_truth, **kwargs):
    found = [re.search(r"\\boxed\{(.*?)\}", completion) for completion in completions]
    contents = [match.group(1) if match else "" for match in found]
    return [1.0 if c == gt else 0.0 for c, gt in zip(contents, ground_truth)]

def math_only(prompts, completions, task, **kwargs):
    return [(1.0 if "4" in c else -1.0) if t == "math" else None for c, t in zip(completions, task)]

async def not_empty(prompts, completions, **kwargs):
    await asyncio.sleep(0)
    return [1.0 if completion else 0.0 for completion in completions]
'''


def test_rewards_as_trl_s_documentation_has_them(write: Write) -> None:
    write(TRL_S_PAGE)
    assert values(load("by_tokens"), rows("a", "b")) == [3.0, 3.0]
    assert values(load("by_characters"), rows("a", "bcd")) == [1.0, 3.0]
    assert values(load("boxed"), rows("so \\boxed{4}", "so \\boxed{5}", "4")) == [1.0, 0.0, 0.0]
    assert values(load("not_empty"), rows("", "b")) == [0.0, 1.0]
    chat = rows("<think>x</think><answer>4</answer>", "4", chat=True)
    assert values(load("well_formed"), chat) == [1.0, 0.0]
    mixed = rows("4", "5", columns={"task": "math"}) + rows("4", columns={"task": "code"}) + rows("4")
    assert values(load("math_only"), mixed) == [1.0, -1.0, None, None]


def test_a_reward_gets_what_it_names_and_no_more(write: Write) -> None:
    write("def named(completions, reference, verdict, level, hint):\n    assert verdict[0].correct\n    return level")
    assert values(load("named"), rows("a", columns={"hint": "h", "other": 1})) == [2.0]


@pytest.mark.parametrize("name", ["answer", "solution", "ground_truth"])
def test_the_reference_goes_by_the_names_that_data_sets_give_it(write: Write, name: str) -> None:
    write(f"def same(completions, {name}):\n    return [c == r for c, r in zip(completions, {name})]")
    assert values(load("same"), rows("4", "5")) == [1.0, 0.0]
    assert values(load("same"), rows("4", "5", columns={name: "5"})) == [0.0, 1.0]


def test_a_default_stands_where_there_is_no_column(write: Write) -> None:
    write("def f(completions, bonus=None):\n    return [0.0 if bonus is None else b for b in bonus or completions]")
    assert values(load("f"), rows("a", "b")) == [0.0, 0.0]
    assert values(load("f"), rows("a", columns={"bonus": 3})) == [3.0]


def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are(write: Write) -> None:
    write("def f(completions, difficulty):\n    return [0.0]")
    expected = (
        "my_rewards.py:f needs 'difficulty', which the problems don't have; their columns are domain, hint, language, "
        "level, problem_id, reference, verdict. Add the column, or give the parameter a default"
    )
    for on_error in ("stop", "zero"):
        with pytest.raises(UserError) as caught:
            values(load("f"), rows("a", columns={"hint": "h"}), on_error)
        assert str(caught.value) == expected


def test_missing_columns_show_before_the_first_step(write: Write) -> None:
    write("def f(completions, difficulty, answer, domain, weight=1): ...\ndef g(queries): ...")
    bare, whole = rows("a")[0].problem, rows("a", columns={"difficulty": 1})[0].problem
    require_columns(load("f"), columns_of([bare, whole]))
    require_columns(load("g"), columns_of([bare]))
    with pytest.raises(UserError, match="needs 'difficulty'"):
        require_columns(load("f"), columns_of([bare, bare]))


def test_a_rare_column_is_none_in_batches_without_it(write: Write) -> None:
    write("def f(completions, hint, answer):\n    return [None if h is None else 1.0 for h in hint]")
    bare, hinted = rows("a", "b"), rows("a", columns={"hint": "h", "level": 7})
    reward = load("f")
    require_columns(reward, columns_of([bare[0].problem, hinted[0].problem]))
    assert values(reward, bare) == [None, None]
    assert values(reward, hinted) == [1.0]
    with pytest.raises(UserError, match="needs 'hint'"):
        values(load("f"), bare)


def test_a_search_for_the_culprit_keeps_the_columns_of_the_batch(write: Write) -> None:
    write("def f(completions, hint):\n    return [float(c) for c in completions]")
    some = rows("1", columns={"hint": "h"}) + rows("x", "2")
    assert values(load("f"), some, "zero") == [1.0, 0.0, 2.0]


# verl


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_verl_s_compute_score_is_called_per_completion(write: Write, kind: str) -> None:
    write(f"""
SEEN = []
{kind} compute_score(data_source, solution_str, ground_truth, extra_info=None):
    SEEN.append((data_source, solution_str, ground_truth, extra_info))
    return float(solution_str == ground_truth)
""")
    given = rows("4", "5", columns={"data_source": "gsm8k", "extra_info": {"index": 7}}) + rows("4", chat=True)
    reward = load("compute_score")
    assert values(reward, given) == [1.0, 0.0, 1.0]
    assert module_of("SEEN") == [
        ("gsm8k", "4", "4", {"index": 7}),
        ("gsm8k", "5", "4", {"index": 7}),
        ("math", "4", "4", {}),
    ]
    assert values(reward, rows("4")) == [1.0]
    assert module_of("SEEN")[-1] == ("math", "4", "4", {})


def module_of(name: str) -> Any:
    modules = [module for key, module in sys.modules.items() if key.startswith("thinkery_user_my_rewards_")]
    return next(vars(m)[name] for m in reversed(modules) if Path(m.__file__ or "").parent == Path.cwd())


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_verl_s_dict_pays_its_score(write: Write, kind: str) -> None:
    write(f"{kind} f(solution_str, ground_truth):\n    return {{'score': 0.5, 'acc': True, 'pred': solution_str}}")
    assert values(load("f"), rows("4", "5")) == [0.5, 0.5]
    write(f"{kind} f(solution_str, ground_truth):\n    return {{'acc': True, 'pred': solution_str}}")
    with pytest.raises(UserError, match="returned a mapping without 'score'; it has acc, pred"):
        values(load("f"), rows("4", "5"))


def test_verl_s_async_scores_are_in_flight_together(write: Write) -> None:
    write("""
import asyncio
import inspect
ALL_HERE = asyncio.Barrier(3)
async def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    await ALL_HERE.wait()
    return float(solution_str)
""")
    assert values(load("compute_score"), rows("1", "2", "3")) == [1.0, 2.0, 3.0]


def test_a_failing_score_is_shown_with_its_completion(write: Write) -> None:
    write("""\
async def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str)
""")
    with pytest.raises(UserError) as caught:
        values(load("compute_score"), rows("1", "two"))
    assert str(caught.value).splitlines()[:3] == [
        "reward 'mine' raised ValueError: could not convert string to float: 'two'",
        "  at my_rewards.py, line 2: return float(solution_str)",
        "  for completion 1 of problem 'p': 'two'",
    ]
    assert values(load("compute_score"), rows("1", "two"), "zero") == [1.0, 0.0]


# OpenRLHF


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize(
    "returned", ["r", "r.tolist()", "{'rewards': r, 'scores': r, 'extra_logs': {'mean': r.mean()}}"]
)
def test_openrlhf_s_reward_func(write: Write, kind: str, chat: bool, returned: str) -> None:
    write(f"""
import torch
{kind} reward_func(queries, prompts, labels, **kwargs):
    assert not kwargs
    answers = [query[len(prompt):] for query, prompt in zip(queries, prompts)]
    assert all(prompt.endswith("User: 2+2?\\nAssistant:") for prompt in prompts)
    r = torch.tensor([float(answer == label) for answer, label in zip(answers, labels)])
    return {returned}
""")
    assert values(load("reward_func"), rows("4", "5", chat=chat)) == [1.0, 0.0]


def test_openrlhf_s_dict_must_hold_the_rewards(write: Write) -> None:
    write("def f(queries, prompts, labels):\n    return {'scores': [1.0]}")
    with pytest.raises(UserError, match="returned a mapping without 'rewards'; it has scores"):
        values(load("f"), rows("4"))


# Options


def test_options_of_the_recipe_are_arguments_with_a_default(write: Write) -> None:
    write("""
def trl(completions, scale=1, **kwargs):
    assert "scale" not in kwargs
    return [scale * len(c) for c in completions]
def verl(data_source, solution_str, ground_truth, extra_info=None, scale=1):
    return scale * len(solution_str)
async def openrlhf(queries, prompts, labels, *, scale=1):
    return [scale * (len(q) - len(p)) for q, p in zip(queries, prompts)]
""")
    for name in ("trl", "verl", "openrlhf"):
        assert values(load(name), rows("a", "bc")) == [1.0, 2.0]
        assert values(load(name, scale=3), rows("a", "bc")) == [3.0, 6.0]


def test_an_option_goes_before_a_column_of_its_name(write: Write) -> None:
    write("def f(completions, level=9):\n    return level if isinstance(level, list) else [level]")
    assert values(load("f"), rows("a")) == [2.0]
    assert values(load("f", level=5), rows("a")) == [5.0]


def test_options_that_the_function_does_not_have_are_refused(write: Write) -> None:
    write("def f(completions, answer, scale=1, floor=0, **kwargs): ...\ndef g(completions): ...")
    known = "parameters with a default are: scale, floor"
    assert (
        refused("my_rewards.py:f", scal=2)
        == f"my_rewards.py:f: the option 'scal' is no parameter of the function; {known}"
    )
    assert refused("my_rewards.py:f", answer=2) == f"my_rewards.py:f: the option 'answer' has no default; {known}"
    assert refused("my_rewards.py:f", kwargs=2) == f"my_rewards.py:f: the option 'kwargs' has no default; {known}"
    assert refused("my_rewards.py:g", scale=2).endswith("parameters with a default are: none")


# Mistakes


def test_a_name_without_a_function() -> None:
    for spec in ("my_rewards.py", "my_rewards.py:", ":f", "my_rewards.py:a.b"):
        assert refused(spec) == (f"{spec!r} names no function: write my_rewards.py:function or package.module:function")


def test_a_file_that_is_not_there(write: Write, tmp_path: Path) -> None:
    write("", "sub/my_rewards.py")
    write("", "sub/other.py")
    write("", "empty/readme.txt")
    assert refused("sub/my_reward.py:f") == (
        f"sub/my_reward.py: there is no such file in {tmp_path / 'sub'}; did you mean my_rewards.py?"
    )
    assert refused("sub/zzz.py:f").endswith("it has: my_rewards.py, other.py")
    assert refused("empty/f.py:f").endswith("it has none")
    assert refused("nowhere/f.py:f") == f"nowhere/f.py: there is no folder nowhere in {tmp_path}"


def test_a_function_that_is_not_there(write: Write) -> None:
    write("from os.path import join\ndef helpful_units(completions): ...\ndef brief(completions): ...\ndef _own(): ...")
    assert refused("my_rewards.py:helpful_unit") == (
        "my_rewards.py has no function 'helpful_unit'; did you mean helpful_units?"
    )
    assert refused("my_rewards.py:zzz") == "my_rewards.py has no function 'zzz'; it has: brief, helpful_units"
    write("X = 1")
    assert refused("my_rewards.py:zzz") == "my_rewards.py has no function 'zzz'; it has none"


def test_what_is_no_function(write: Write) -> None:
    write("SCALE = 2.0\nclass Judge: ...\ndef f(completions): ...")
    assert refused("my_rewards.py:SCALE") == "my_rewards.py:SCALE is a float, not a function; functions are: f"
    assert refused("my_rewards.py:Judge") == "my_rewards.py:Judge is a class, not a function; functions are: f"


def test_syntax_errors_have_line_and_text(write: Write) -> None:
    write("X = 1\ndef f(completions:\n    return 1\n")
    assert refused("my_rewards.py:f") == "my_rewards.py, line 2: '(' was never closed: def f(completions:"
    Path("my_rewards.py").write_bytes(b"X = 'caf\xe9'\n")
    assert refused("my_rewards.py:f").startswith("my_rewards.py, line 1: (unicode error) 'utf-8' codec can't decode")
    Path("my_rewards.py").write_bytes(b"X = 1\0")
    assert "null bytes" in refused("my_rewards.py:f")


def test_a_syntax_error_in_a_sibling_names_the_sibling(write: Write) -> None:
    write("import helper")
    write("X = = 1", "helper.py")
    assert refused("my_rewards.py:f") == "my_rewards.py cannot be imported: helper.py, line 1: invalid syntax: X = = 1"


def test_an_exception_at_import_has_its_last_lines(write: Write) -> None:
    write("import helper\n\n\ndef f(completions): ...\n")
    write("def table():\n    return {}['units']\n\nTABLE = table()\n", "helper.py")
    modules = set(sys.modules)
    assert refused("my_rewards.py:f").splitlines() == [
        "my_rewards.py cannot be imported: KeyError: 'units'",
        "  my_rewards.py, line 1: import helper",
        "  helper.py, line 4: TABLE = table()",
        "  helper.py, line 2: return {}['units']",
    ]
    assert set(sys.modules) == modules


def test_a_missing_package_says_what_to_do(write: Write) -> None:
    write("import no_such_package\n")
    assert refused("my_rewards.py:f").splitlines() == [
        "my_rewards.py cannot be imported: ModuleNotFoundError: No module named 'no_such_package'",
        "  my_rewards.py, line 1: import no_such_package",
        "  Install what it needs where Thinkery is installed, or correct the name.",
    ]


def test_a_script_that_leaves_is_an_error(write: Write) -> None:
    write("def f(completions): ...\nraise SystemExit(0)\n")
    assert refused("my_rewards.py:f").startswith("my_rewards.py cannot be imported: SystemExit: 0\n")


@pytest.mark.parametrize("signature", ["", "text", "**kwargs", "*args", "prompt, completion, answer", "solution, gold"])
def test_unknown_signatures_are_shown_the_known_ones(write: Write, signature: str) -> None:
    write(f"def f({signature}): ...")
    lines = refused("my_rewards.py:f").splitlines()
    assert lines[0].startswith("my_rewards.py:f(")
    assert lines[0].endswith("unknown signature; write one of")
    assert [line.strip().partition("(")[2].partition(")")[0] for line in lines[1:]] == [
        "completions, ...",
        "data_source, solution_str, ground_truth, extra_info=None",
        "queries, prompts, labels",
    ]


def test_parameters_must_have_a_name_and_somebody_who_gives_them(write: Write) -> None:
    write("""
def a(completions, /): ...
def b(data_source, solution_str, ground_truth, extra_info, tokenizer): ...
def c(queries, prompts, labels, answers): ...
""")
    assert refused("my_rewards.py:a").startswith("my_rewards.py:a: the parameter 'completions' can't be given by name")
    assert refused("my_rewards.py:b") == (
        "my_rewards.py:b needs 'tokenizer', but in verl's signature there are only data_source, solution_str, "
        "ground_truth, extra_info; give the parameter a default"
    )
    assert "needs 'answers', but in OpenRLHF's signature there are only queries, prompts, labels" in refused(
        "my_rewards.py:c"
    )


def test_an_exception_in_a_sibling_is_shown_where_it_is(write: Write) -> None:
    write("import json\nimport helper\n\ndef f(completions):\n    return [helper.parse(c) for c in completions]\n")
    write("import json\n\ndef parse(text):\n    return json.loads(text)\n", "helper.py")
    with pytest.raises(UserError) as caught:
        values(load("f"), rows("1", "{"))
    head, place, completion, _ = str(caught.value).splitlines()
    assert head.startswith("reward 'mine' raised JSONDecodeError: Expecting property name")
    assert place == "  at helper.py, line 4: return json.loads(text)"
    assert completion == "  for completion 1 of problem 'p': '{'"


# Loading


def test_files_of_the_same_name_don_t_clash_nor_do_their_siblings(write: Write) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        write(
            "import helper\nfrom pack import part\ndef f(completions):\n    return [helper.V + part.V]",
            f"{folder}/r.py",
        )
        write(f"V = {value}", f"{folder}/helper.py")
        write("", f"{folder}/pack/__init__.py")
        write(f"V = {value}", f"{folder}/pack/part.py")
    path, modules = list(sys.path), set(sys.modules)
    first, second = load_reward("a/r.py:f", CONTEXT), load_reward("b/r.py:f", CONTEXT)
    assert values(first, rows("x")) == [2.0]
    assert values(second, rows("x")) == [4.0]
    assert sys.path == path
    assert {name for name in set(sys.modules) - modules if not name.startswith("thinkery_user_r_")} == set()


def test_a_file_is_run_once_until_its_content_changes(write: Write) -> None:
    source = "from pathlib import Path\nwith Path('runs').open('a') as f: f.write('x')\ndef f(completions): return [{}]"
    write(source.format(1))
    assert values(load("f"), rows("a")) == [1.0]
    load("f")
    load_reward(str(Path("my_rewards.py").resolve()) + ":f", CONTEXT)
    assert Path("runs").read_text() == "x"
    write(source.format(2))  # same size, same second: byte code would be taken for fresh
    assert values(load("f"), rows("a")) == [2.0]
    assert Path("runs").read_text() == "xx"
    assert not Path("__pycache__").exists()


def test_dataclasses_and_annotations_work_as_in_any_module(write: Write) -> None:
    write("""
from __future__ import annotations
import dataclasses, functools, typing

@dataclasses.dataclass
class Unit:
    name: str
    kind: typing.ClassVar[int] = 1

def checked(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@checked
def f(completions, scale: int = 1) -> list[float]:
    return [float(len(Unit(c).name) * scale) for c in completions]

def base(completions, scale):
    return [scale * len(c) for c in completions]

partial = functools.partial(base, scale=3)
""")
    assert values(load("f", scale=2), rows("abc")) == [6.0]
    assert values(load("partial"), rows("abc")) == [9.0]


def test_annotations_don_t_inherit_our_future(write: Write) -> None:
    write("def f(completions: 1 + 1): ...\nassert f.__annotations__ == {'completions': 2}")
    load("f")


def test_modules_of_packages_have_a_name_instead_of_a_path(write: Write) -> None:
    write("", "my_package_of_rewards/__init__.py")
    write("def f(completions):\n    return [1.0]", "my_package_of_rewards/units.py")
    path = list(sys.path)
    assert values(load_reward("my_package_of_rewards.units:f", CONTEXT), rows("a")) == [1.0]
    assert sys.path == path
    assert refused("my_package_of_rewards.unit:f") == (
        "there is no module 'my_package_of_rewards.unit'; for a file write its path, for example my_rewards.py:name"
    )
    assert refused("my_package_of_rewards.units:g").endswith("has no function 'g'; it has: f")
    write("1 / 0", "my_package_of_rewards/broken.py")
    assert refused("my_package_of_rewards.broken:f").splitlines() == [
        "my_package_of_rewards.broken cannot be imported: ZeroDivisionError: division by zero",
        "  my_package_of_rewards/broken.py, line 1: 1 / 0",
    ]


def test_the_files_behind_rewards_are_the_file_and_its_siblings(write: Write, tmp_path: Path) -> None:
    write("import helper, json\ndef f(completions):\n    from pack.part import X\n    return [1.0]")
    write("import deeper", "helper.py")
    write("import helper", "deeper.py")
    write("", "unrelated.py")
    write("", "pack/__init__.py")
    write("", "pack/part.py")
    names = ["deeper.py", "helper.py", "my_rewards.py", "pack/__init__.py", "pack/part.py"]
    expected = [tmp_path / name for name in names]
    assert reward_files(["accuracy", "my_rewards.py:f", f"{tmp_path}/my_rewards.py:g"]) == expected
    assert reward_files(["accuracy", "format"]) == []
    with pytest.raises(UserError, match="there is no such file"):
        reward_files(["your_rewards.py:f"])


def test_own_rewards_are_known_by_their_name() -> None:
    assert [name for name in ("a.py:f", "a.py", "pack.mod:f", "accuracy") if is_custom(name)] == [
        "a.py:f",
        "a.py",
        "pack.mod:f",
    ]


def test_a_loaded_reward_can_be_awaited_by_hand(write: Write) -> None:
    write("async def f(completions):\n    return [1.0]")
    given: Any = load("f")(["p"], ["c"], [[1]], reference=["4"])
    assert asyncio.run(given) == [1.0]
