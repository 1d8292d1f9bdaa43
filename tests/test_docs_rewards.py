"""Everything that docs/rewards.md shows works: its files, recipes, sessions and error messages."""

import doctest
import http.server
import inspect
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import open_source
from thinkery.recipe import load_recipe
from thinkery.recipe.verification import CodePolicy, MathPolicy, Verification
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.interfaces import STANDARD_COLUMNS, RewardContext
from thinkery.rewards.registry import REWARDS, VERIFIERS, check_rewards
from thinkery.rewards.reward_process import RewardProcess
from thinkery.sandbox.isolation import LEVELS, probe
from thinkery.types import Completion, Outcome, Problem, UserError, Verdict

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
CONTEXT = RewardContext(TEMPLATES["r1-zero-compact"], 64)
STAGE = {"name": "zero", "kind": "rl", "from": "base", "steps": 1, "learning_rate": 1e-5}


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's files, each in one piece, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in blocks("python"):
        if named := FILE_NAME.match(text):
            with Path(named[1]).open("a", encoding="utf-8") as file:
                file.write(text)
    Path("problems.jsonl").write_text("".join(blocks("jsonl")), encoding="utf-8")


def rows(*texts: str, correct: str = "", problem_id: str = "p", **columns: Any) -> list[GradedRow]:
    problem = Problem(problem_id, "2+2?", "4", columns=columns)
    return [
        GradedRow(
            problem,
            Completion(problem_id, index, (1,), (7,) * len(text), (0.0,) * len(text), text, "stop", 0),
            Verdict(Outcome.CORRECT if correct and correct in text else Outcome.WRONG),
        )
        for index, text in enumerate(texts)
    ]


def values(spec: str, of: list[GradedRow], on_error: Any = "stop", **options: Any) -> list[float | None]:
    with RewardProcess(CONTEXT) as process:
        rewards = {spec: process.load(spec, options)}
        return call_rewards(rewards, of, on_error=on_error, timeout_s=60)[0][spec]


SESSIONS = [text for text in blocks("python") if text.startswith(">>>")]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda text: text.partition("\n")[0].removeprefix(">>> "))
def test_its_sessions_print_what_it_says(session: str) -> None:
    if "sandbox" in session and not any(probe(level).works for level in LEVELS):
        pytest.skip(f"not here: {probe('bubblewrap').detail}")
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    runner.run(doctest.DocTestParser().get_doctest(session, {}, "session", "docs/rewards.md", 0), out=said.append)
    assert not said, "".join(said)


def test_its_recipes_are_accepted() -> None:
    recipes = [yaml.safe_load(text) for text in blocks("yaml")]
    assert [list(recipe) for recipe in recipes] == [["rewards"], ["verification"], ["rewards"]]
    for recipe in recipes:
        stage = STAGE | {"problems": {"source": "mini"}, "rewards": recipe.get("rewards", {"accuracy": 1})}
        whole = {"name": "page", "base": "b/c", "stages": [stage], "verification": recipe.get("verification", {})}
        Path("recipe.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        loaded = load_recipe(Path("recipe.yaml"))
        check_rewards("zero.rewards", loaded.stages[0].rewards, 64)  # type: ignore[union-attr]
    assert loaded.stages[0].rewards.keys() > {"theirs.py:compute_score"}  # type: ignore[union-attr]


def test_the_settings_it_shows_are_the_ones_one_starts_with() -> None:
    shown = next(yaml.safe_load(text)["verification"] for text in blocks("yaml") if text.startswith("verification"))
    assert Verification.model_validate(shown) == Verification()
    assert shown["math"].keys() == MathPolicy.model_fields.keys()
    assert CodePolicy.model_fields.keys() - shown["code"].keys() == {"unsafe_local", "fusion_url"}
    assert shown.keys() == Verification.model_fields.keys()
    assert "unsafe_local: true" in PAGE
    assert "verification.code.fusion_url" in PAGE


def test_its_problems_can_be_read() -> None:
    recipe = {
        "name": "page",
        "base": "b/c",
        "stages": [STAGE | {"problems": {"source": "problems.jsonl"}, "rewards": {"accuracy": 1}}],
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    problems = open_source(load_recipe(Path("recipe.yaml")).stages[0].problems).fixed(None)  # type: ignore[union-attr]
    assert sorted(problem.columns.get("unit") or "" for problem in problems) == ["", "km"]


def test_its_tables_name_every_reward_option_verifier_and_column() -> None:
    tables = [dict(re.findall(r"^\| (.+?) \|(.*)\|$", part, re.MULTILINE)) for part in PAGE.split("\n## ")]
    rewards = next(table for table in tables if "reward" in table)
    verifiers = next(table for table in tables if "verifier" in table)
    assert {name.strip("`") for name in rewards} - {"reward", "---"} == REWARDS.keys()
    assert {name.strip("`") for name in verifiers} - {"verifier", "---"} == VERIFIERS.keys()
    for name, factory in REWARDS.items():
        options = [
            p.name
            for p in inspect.signature(factory).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name != "context"
        ]
        said = re.findall(r"`(\w+)`:", rewards[f"`{name}`"].rpartition("|")[2])
        assert said == options, name
    assert all(f"`{column}`" in PAGE for column in STANDARD_COLUMNS)


def test_its_commands_print_what_it_says() -> None:
    for shown in blocks("console"):
        command, _, output = shown.removeprefix("$ thinkery ").partition("\n")
        ran = CliRunner().invoke(app, command.split())
        assert ran.stdout == output
        assert ran.exit_code == 0
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert commands >= set(re.findall(r"`thinkery (\w+)`", PAGE))


def test_its_units_pay_as_it_says() -> None:
    some = rows("so 5 km", "5", unit="km") + rows("5")
    assert values("my_rewards.py:helpful_units", some) == [1.0, 0.0, None]
    assert values("my_rewards.py:helpful_units", rows("km: 5", unit="km")) == [0.5]
    assert values("my_rewards.py:helpful_units", rows("km: 5", unit="km"), strict=True) == [0.0]


def test_its_brief_reward_compares_within_a_group() -> None:
    group = rows("4", "4444", "44", "5", correct="4") + rows("44444444", correct="4", problem_id="q")
    assert values("my_rewards.py:brief", group) == [1.0, 0.0, 2 / 3, None, 1.0]


def test_the_rewards_of_others_pay_as_they_do_there() -> None:
    assert values("theirs.py:compute_score", rows("it is 4", "5")) == [1.0, 0.0]
    assert values("theirs.py:reward_func", rows("it is 4", "5")) == [1.0, 0.0]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that scores a text by its length."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"score": len(asked["text"])}).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("JUDGE_URL", f"http://127.0.0.1:{server.server_port}/score")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("judge")
def test_its_judge_asks_a_server() -> None:
    assert values("judge.py:kindness", rows("a", "bcd")) == [1.0, 3.0]


def test_the_error_it_shows_is_the_error_one_gets() -> None:
    good, bad = rows("5 km", unit="km"), rows(*["x"] * 3, "<think>3 + 2 = 5</think><answer>5 km</answer>", unit=7)[3:]
    bad = [row._replace(problem=Problem("walks-17", "?", "5", columns={"unit": 7})) for row in bad]
    with pytest.raises(UserError) as caught:
        values("my_rewards.py:helpful_units", good + bad)
    assert f"error: {caught.value}" == blocks("text")[0].strip("\n")
