from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinkery.recipe import (
    PERMISSIONS,
    UNSAFE_LOCAL,
    PretrainStage,
    RewardSpec,
    RLStage,
    diff_recipes,
    load_recipe,
    load_verification,
)
from thinkery.types import UserError

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))

LADDER = """
name: ladder
base: ./base
stages:
  - name: zero
    kind: rl
    from: base
    problems: {source: mini, levels: [1, 2], languages: {en: 0.5, zh: 0.5}}
    rewards: {accuracy: 1, format: 0.2}
    steps: 100
    learning_rate: 1e-4
  - name: fresh
    kind: pretrain
    corpus: {source: mini}
    tokens: 1000000
  - {name: again, kind: rl, from: zero, problems: {source: mini}, rewards: {accuracy: 1}, steps: 5, learning_rate: 1e-5}
  - {name: cold, kind: collect, from: zero, problems: {source: mini, n: 8}}
  - {name: dev, kind: sft, from: base, data: [cold, {source: mini, share: 0.25}]}
  - {name: pairs, kind: judge, task: preference, from: dev, problems: {source: mini, n: 8}, judge: mini}
  - {name: rm, kind: reward_model, objective: pairwise, reads: summary, from: dev, data: [pairs]}
evaluate:
  reasoning: {problems: {source: mini, split: test, n: 512}}
"""


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    path = tmp_path / "ladder.yaml"
    path.write_text(LADDER)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_reward_has_a_weight_and_options_of_its_own(ladder: Path, tmp_path: Path) -> None:
    given = ["zero.rewards={accuracy: 1, length: {weight: 0.5, buffer: 64}, 'mine.py:f': {scale: 2}}"]
    recipe = load_recipe(ladder, given)
    zero = recipe.stages[0]
    assert isinstance(zero, RLStage)
    assert {name: (spec.weight, spec.options) for name, spec in zero.rewards.items()} == {
        "accuracy": (1.0, {}),
        "length": (0.5, {"buffer": 64}),
        "mine.py:f": (1.0, {"scale": 2}),
    }
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_a_recipe_is_read_with_its_defaults(ladder: Path) -> None:
    recipe = load_recipe(ladder)
    zero, fresh, again, *_ = recipe.stages
    assert isinstance(zero, RLStage)
    assert isinstance(fresh, PretrainStage)
    assert isinstance(again, RLStage)
    assert (zero.from_, zero.steps, zero.learning_rate, zero.num_generations) == ("base", 100, 1e-4, 16)
    assert zero.rewards == {"accuracy": RewardSpec(weight=1.0), "format": RewardSpec(weight=0.2)}
    assert fresh.steps == 1_000_000 // (16 * 256)
    assert again.from_ == "zero"
    assert recipe.evaluate["reasoning"].top_p == 0.95


def test_the_resolved_recipe_reads_back_as_itself(ladder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(ladder, ["zero.epsilon_high=0.28", "zero.delta=4"])
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(recipe.to_yaml())
    assert load_recipe(resolved) == recipe
    assert "num_minibatches: 1" in resolved.read_text()  # a default, written down


def test_what_null_switches_off_stays_off_when_it_is_read_back(ladder: Path, tmp_path: Path) -> None:
    off = ["cold.readable={min_language: null}", "cold.deduplicate=null", "zero.problems.source=a.jsonl"]
    recipe = load_recipe(ladder, [*off, "zero.problems.columns={level: null}"])
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(recipe.to_yaml())
    assert load_recipe(resolved) == recipe
    assert "cold.deduplicate: 0.8 -> None" in diff_recipes(load_recipe(ladder), recipe)


@pytest.mark.parametrize(
    "engine",
    ["{backend: vllm}", "{backend: vllm, enforce_eager: true}", "{backend: vllm, mode: server, server_timeout: 60}"],
)
def test_a_recipe_that_samples_with_vllm_reads_back(ladder: Path, tmp_path: Path, engine: str) -> None:
    recipe = load_recipe(ladder, [f"zero.rollout={engine}"])
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "resolved.yaml") == recipe


def test_a_servers_settings_are_refused_beside_the_learner(ladder: Path) -> None:
    with pytest.raises(UserError, match=r"server_timeout: only mode server has one"):
        load_recipe(ladder, ["zero.rollout={backend: vllm, server_timeout: 60}"])
    with pytest.raises(UserError, match=r"enable_sleep_mode: a server has its own memory"):
        load_recipe(ladder, ["zero.rollout={backend: vllm, mode: server, enable_sleep_mode: true}"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_overrides_reach_stages_recipe_and_depths(ladder: Path) -> None:
    overrides = ["zero.learning_rate=1e-5", "zero.problems.levels=[3]", "zero.rewards.language=0.5", "base=other/model"]
    recipe = load_recipe(ladder, [*overrides, "evaluate.reasoning.num_samples=4"], seed=7)
    zero = recipe.stages[0]
    assert isinstance(zero, RLStage)
    assert (zero.learning_rate, zero.problems.levels, zero.rewards["language"].weight) == (1e-5, [3], 0.5)
    assert (recipe.base, recipe.evaluate["reasoning"].num_samples, recipe.seed) == ("other/model", 4, 7)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        # Unknown
        ("zero.learnign_rate=1", "zero.learnign_rate: no such field; did you mean learning_rate?"),
        ("zero.problems.spilt=test", "zero.problems.spilt: no such field; did you mean split?"),
        ("evaluate.reasoning.k=1", "evaluate.reasoning.k: no such field; allowed: problems, num_samples, "),
        ("zreo.steps=1", "no stage or field is named 'zreo'; did you mean zero?"),
        # Missing
        ("zero={}", "name a field of the stage"),
        ("stages=[{kind: rl}]", "stages[0].name: missing; allowed: at most 40 small letters"),
        ("stages=[{name: a}]", "a.kind: missing; allowed: collect, judge, pretrain, reward_model, rl, sft"),
        ("evaluate.x={}", "evaluate.x.problems: missing; allowed: a mapping with the fields source, split"),
        ("base=null", "base: missing, but zero.from is 'base'"),
        # Of the wrong kind or size
        ("zero.kind=dpo", "zero.kind = 'dpo': allowed: collect, judge, pretrain, reward_model, rl, sft"),
        ("zero.loss_type=ppo", "zero.loss_type = 'ppo': allowed: grpo, dapo, dr_grpo"),
        ("zero.learning_rate=-1", "zero.learning_rate = -1: allowed: a number > 0"),
        ("zero.learning_rate=.inf", "zero.learning_rate = inf: allowed: a number > 0"),
        ("zero.steps=1.5", "zero.steps = 1.5: allowed: an integer > 0"),
        ("zero.top_p=0", "zero.top_p = 0: allowed: a number > 0 and <= 1"),
        ("zero.dynamic_sampling=7", "zero.dynamic_sampling = 7: allowed: true or false"),
        ("zero.problems.source=foo", "zero.problems.source = 'foo': allowed: mini, a file (.jsonl, "),
        ("zero.problems.levels=[0]", "zero.problems.levels.0 = 0: allowed: an integer > 0"),
        ("zero.rewards={}", "zero.rewards = {}: name at least one, or a teacher to distill from"),
        ("zero.rewards=[]", "zero.rewards = []: allowed: a mapping"),
        (
            "zero.rewards.accuracy=x",
            "zero.rewards.accuracy = 'x': allowed: a number or a mapping with the fields weight, f",
        ),
        ("zero.rewards.length={weight: x, buffer: 5}", "zero.rewards.length.weight = 'x': allowed: a number"),
        ("zero.reward_errors=ignore", "zero.reward_errors = 'ignore': allowed: stop, zero"),
        ("verification.math.unit=cm", "verification.math.unit: no such field"),
        ("zero.reference_refresh_steps=x", "zero.reference_refresh_steps = 'x': allowed: an integer > 0"),
        ("zero.problems.also=[{source: x}]", "zero.problems.also.0.source = 'x': allowed: mini, a file"),
        ("dev.data=cold", "dev.data = 'cold': allowed: a list that is not empty"),
        ("dev.data=[3]", "dev.data.0 = 3: allowed: a text or a mapping with the fields source, n, share"),
        ("dev.data.1.n=0", "dev.data.1.n = 0: allowed: an integer > 0"),
        ("dev.data.0={n: 3}", "dev.data.0.source: missing; allowed: a text"),
        ("pairs.judge=5", "pairs.judge = 5: allowed: a text or a mapping with the fields source, model"),
        ("pairs.judge=me", "pairs.judge.source = 'me': allowed: mini, mini-true or http://host/v1"),
        ("pairs.judge={source: mini, concurrency: 0}", "pairs.judge.concurrency = 0: allowed: an integer > 0"),
        ("cold.judge=true", "cold.judge = True: allowed: a text or a mapping with the fields source"),
        ("cold.refine={by: endpoint, endpoint: 3}", "cold.refine.endpoint = 3: allowed: a text or a mapping"),
        ("name=A B", "name = 'A B': allowed: at most 40 small letters, digits"),
        ("evaluate.A B={}", "evaluate.A B: 'A B' can't be a name here; allowed: small letters"),
        ("stages=3", "stages = 3: allowed: a list"),
        ("stages=null", "stages = None: allowed: a list"),
        # Contradictory
        ("zero.num_generations=1", "zero.num_generations = 1: a group needs at least 2"),
        ("zero.epsilon_high=0.1", "zero.epsilon_high = 0.1: must be at least epsilon, 0.2"),
        ("zero.delta=1.1", "zero.delta = 1.1: must be greater than 1 + epsilon_high = 1.2"),
        ("zero.reference_refresh_steps=4", "zero.reference_refresh_steps = 4: there is no reference while beta is 0"),
        ("zero.num_minibatches=33", "zero.num_minibatches = 33: must be at most num_problems, 32"),
        ("zero.warmup_steps=100", "zero.warmup_steps = 100: must be less than steps, 100"),
        ("fresh.num_key_value_heads=3", "fresh.num_key_value_heads = 3: must divide num_attention_heads, 4"),
        ("fresh.tokens=10", "fresh.tokens = 10: must be at least one batch, batch_size * context_length = 4096"),
        ("zero.from=again", "zero.from = 'again': allowed: base, or a path or Hub id with a '/'"),
        ("again.from=zreo", "again.from = 'zreo': allowed: base, zero, fresh, or a path"),
        (
            "zero.rewards.accuracy={from_step: 100}",
            "zero.rewards.accuracy.from_step = 100: must be less than steps, 100",
        ),
        (
            "zero.rewards.helpful={model: rm}",
            "zero.rewards.helpful.model = 'rm': allowed: no stage before it, or a path",
        ),
        ("zero.teacher=dev", "zero.teacher = 'dev': allowed: base, or a path"),
        ("cold.from=rm", "cold.from = 'rm': allowed: base, zero, fresh, again, or a path"),
        ("cold.refine={by: endpoint, endpoint: mini}", "cold.refine.endpoint: name the one to ask, for example"),
        ("dev.data=[pairs]", "dev.data[0].source = 'pairs': allowed: cold, mini, a file or a data set"),
        ("dev.data=[mini]", "dev.data.0.n: mini is endless, say how many"),
        ("dev.data.0={source: cold, share: 0.5}", "dev.data: one source at least must have no share"),
        ("dev.data.1={source: mini, n: 3, share: 0.5}", "dev.data.1.n and share: give one of them"),
        ("pairs.judge=http://localhost/v1", "pairs.judge.model: name the model that http://localhost/v1 should ask"),
        ("pairs.num_generations=1", "pairs.num_generations: a pair needs two responses"),
        ("rm.data=[cold]", "rm.data[0].source = 'cold': allowed: pairs, a file or a data set"),
        ("rm.objective=pointwise", "rm.data[0].source = 'pairs': allowed: no stage before it, a file"),
        ("evaluate.reasoning.models=[cold]", "evaluate.reasoning.models: 'cold' is no stage that makes a model"),
        ("cluster={rollouts: 0}", "cluster.rollouts = 0: allowed: an integer > 0"),
        ("cluster={async_steps: 1}", "zero.importance_sampling_correction = 'none': cluster.async_steps and"),
        ("cluster={oversample: 1.5}", "zero.importance_sampling_correction = 'none': cluster.async_steps and"),
        ("cluster={async_steps: 1, colocate: true}", "cluster.async_steps: workers that share a GPU take turns"),
        ("cluster={learners: 1, rollouts: 2, colocate: true}", "cluster.colocate: there are 2 rollouts and only 1"),
        ("cluster={partial: true}", "cluster.partial: weights come between two steps while async_steps is 0"),
        ("zero.name=mini", "the name 'mini' is reserved"),
        ("zero.name=base", "the name 'base' is reserved"),
        ("zero.name=seed", "the name 'seed' is reserved"),
        ("zero.name=fresh", "two stages are named 'fresh'"),
        # Not an override
        ("zero.steps", "write it as field=value"),
        ("zero..steps=1", "write it as field=value"),
        ("zero.steps=[", "'[' is not a YAML value"),
        ("seed.x=1", "'seed' has no fields of its own"),
        ("dev.data.2.n=1", "'2' is no position in a list of 2, which count from 0"),
        ("dev.data.n=1", "'n' is no position in a list of 2"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(ladder: Path, override: str, expected: str) -> None:
    with_seed = ladder.read_text() + "seed: 1\n"
    ladder.write_text(with_seed)
    assert expected in refusal(ladder, override)


def test_further_mistakes_are_counted(ladder: Path) -> None:
    assert refusal(ladder, "zero.steps=0", "zero.beta=-1").endswith("(and 1 more)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "line 2, column 1: the field 'name' is given twice"),
        ("name: [a\n", "line 2"),
        ("- a\n", "a recipe is a mapping with the fields name, seed"),
        ("", "a recipe is a mapping"),
        ("name: !!python/object/apply:os.system ['touch ran']\n", "could not determine a constructor for the tag"),
        ("name: a\x07\n", "not YAML: unacceptable character"),
        ("name: " + "[" * 2000, "nested too deeply"),
    ],
)
def test_broken_files_are_refused_with_the_place(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert expected in message


def test_what_an_alias_stands_for_is_changed_in_one_place_alone(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text("""
name: aliases
base: ./base
stages:
  - &rl {name: one, kind: rl, from: base, problems: &p {source: mini}, rewards: {format: 1}, steps: 9, learning_rate: 1}
  - {<<: *rl, name: two}
  - {<<: *rl, name: three, problems: {<<: *p, seed: 1}}
""")
    stages = load_recipe(path, ["one.problems.source=a.jsonl", "two.rewards.format=3"]).stages
    rl = [stage for stage in stages if isinstance(stage, RLStage)]
    assert [(stage.problems.source, stage.rewards["format"].weight) for stage in rl] == [
        ("a.jsonl", 1), ("mini", 3), ("mini", 1),
    ]  # fmt: skip
    path.write_text("name: a\nstages: &s [*s]\n")
    assert "an alias (*) stands inside what it is an alias of" in refusal(path)


@pytest.mark.parametrize("line", ["a{n}: &a{n} [{parts}]", "a{n}: &a{n} {{<<: [{parts}]}}"])
def test_a_few_lines_of_aliases_do_not_become_billions_of_values(tmp_path: Path, line: str) -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [line.format(n=n, parts=", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines) + "\n")
    assert "line 1, column 1: more than 100,000 values" in refusal(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such recipe" in refusal(tmp_path / "nowhere.yaml")
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("field", "flag"),
    [("trust_remote_code", "--trust-remote-code"), ("verification.code.unsafe_local", "--unsafe-local")],
)
def test_what_may_run_on_this_machine_only_the_command_line_allows(
    ladder: Path, tmp_path: Path, field: str, flag: str
) -> None:
    assert PERMISSIONS[field] == flag
    for written in ("true", "yes", "1", "'on'"):
        assert f"{field}: no recipe and no --set can allow this" in refusal(ladder, f"{field}={written}")
    allowed = load_recipe(ladder, allow=[field])
    assert [name for name in PERMISSIONS if allowed.allows(name)] == [field]
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(allowed.to_yaml())
    assert f"resolved.yaml: {field}: no recipe" in refusal(resolved)
    assert refusal(resolved).endswith(f"if you trust that code, give {flag}")
    assert load_recipe(resolved, allow=[field]) == allowed
    assert load_recipe(resolved, allow=None) == allowed  # only looked at
    other = next(name for name in PERMISSIONS if name != field)
    with pytest.raises(UserError, match=re.escape(field)):
        load_recipe(resolved, allow=[other])


def test_verification_alone_asks_for_the_flag_as_well() -> None:
    assert load_verification([], [UNSAFE_LOCAL]).code.unsafe_local
    with pytest.raises(UserError, match=r"unsafe_local: no recipe and no --set .* give --unsafe-local"):
        load_verification([f"{UNSAFE_LOCAL}=true"])


def test_the_difference_names_every_changed_field(ladder: Path) -> None:
    old = load_recipe(ladder)
    overrides = ["zero.learning_rate=2e-4", "zero.rewards.language=1", "evaluate.reasoning.problems.n=10"]
    elsewhere = ["output_dir=elsewhere", "cluster={rollouts: 4}"]
    new = load_recipe(ladder, [*overrides, *elsewhere, "fresh.name=fresher"], seed=3)
    changes = diff_recipes(old, new)
    assert "zero.learning_rate: 0.0001 -> 0.0002" in changes
    assert "zero.rewards.language: absent -> 1.0" in changes
    assert "evaluate.reasoning.problems.n: 512 -> 10" in changes
    assert "seed: 0 -> 3" in changes
    assert "stages: zero, fresh, again, cold, dev, pairs, rm -> zero, fresher, again, cold, dev, pairs, rm" in changes
    assert "fresh.tokens: 1000000 -> absent" in changes
    assert not any("output_dir" in change or "cluster" in change for change in changes)
    assert diff_recipes(old, load_recipe(ladder)) == []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a recipe."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


VALID = yaml.safe_load(LADDER)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["rl", "base"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(sorted(places(VALID), key=str)), junk=JUNK)
def test_junk_anywhere_is_refused_in_one_line_or_accepted(tmp_path: Path, place: tuple[Any, ...], junk: Any) -> None:
    data = copy.deepcopy(VALID)
    holder = {"": data}
    keys: tuple[Any, ...] = ("", *place)
    target: Any = holder
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = junk
    path = tmp_path / "junk.yaml"
    path.write_text(yaml.safe_dump(holder[""], allow_unicode=True))
    refused = ""
    try:
        load_recipe(path)
    except UserError as error:
        refused = str(error)
    assert len(refused.splitlines()) <= 1


@pytest.mark.parametrize("name", ["..", "../up", "/abs", "a/b", "a\\b", ".hidden", "a\n", "a\x00", "-rf", ""])
@pytest.mark.parametrize("place", ["recipe", "stage", "set"])
def test_a_name_can_not_leave_the_run_folder(name: str, place: str, ladder: Path) -> None:
    data = yaml.safe_load(ladder.read_text())
    if place == "recipe":
        data["name"] = name
    elif place == "stage":
        data["stages"][-1]["name"] = name
    else:
        data["evaluate"] = {name: {"source": "mini", "n": 4}}
    ladder.write_text(yaml.safe_dump(data))
    assert "allowed: " in refusal(ladder)
