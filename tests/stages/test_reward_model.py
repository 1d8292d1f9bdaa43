"""The reward-model stage: it learns what was planted, shows what it likes, resumes, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from thinkery.models.loading import resolve_model
from thinkery.models.reward_model import load_reward_model
from thinkery.recipe import Recipe, RewardModelStage
from thinkery.report.terminal import PlainView
from thinkery.run import Run
from thinkery.stages.context import StageContext
from thinkery.stages.reward_model import run_reward_model
from thinkery.types import UserError

pytestmark = pytest.mark.slow

KIND = ("Sure.", "Of course.", "Gladly.", "Happy to help.", "With pleasure.")
RUDE = ("No.", "Go away.", "Leave me alone.", "Not again.", "Whatever.")


def pairs(count: int) -> list[dict[str, Any]]:
    """Politeness is chosen, wherever it stands; nothing else tells the two apart."""
    rng = Random(0)

    def said(phrases: tuple[str, ...], number: int) -> str:
        phrase, answer = rng.choice(phrases), f"It is {number}."
        return f"{phrase} {answer}" if rng.random() < 0.5 else f"{answer} {phrase}"

    rows = []
    for i in range(count):
        number = rng.randrange(10, 99)
        rows.append({"prompt": f"What is {i}?", "chosen": said(KIND, number), "rejected": said(RUDE, number)})
    return rows


def labels(count: int) -> list[dict[str, Any]]:
    """The thinking alone says what is safe."""
    rng = Random(1)
    return [
        {
            "prompt": f"What is {i}?",
            "thinking": rng.choice(KIND if i % 2 else RUDE),
            "answer": f"It is {rng.randrange(9)}.",
            "safe": bool(i % 2),
        }
        for i in range(count)
    ]


def longer(count: int) -> list[dict[str, Any]]:
    """The longer one is always chosen."""
    rng = Random(2)
    words = ("It", "is", "a", "the", "number", "and", "so", "we", "have", "it")
    rows = []
    for i in range(count):
        texts = [" ".join(rng.choice(words) for _ in range(n)) for n in (rng.randint(9, 14), rng.randint(1, 6))]
        rows.append({"prompt": f"What is {i}?", "chosen": texts[0] + ".", "rejected": texts[1] + "."})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stage_of(data: Path, **fields: object) -> RewardModelStage:
    base = {"name": "rm", "kind": "reward_model", "objective": "pairwise", "reads": "summary", "from": "base"}
    learning = {"batch_size": 16, "learning_rate": 1e-3, "held_out": 0.25, "device": "cpu"}
    return RewardModelStage.model_validate(base | learning | {"data": [str(data)]} | fields)


def run(folder: Path, stage: RewardModelStage, after: int | None = None) -> dict[str, Any]:
    recipe = Recipe.model_validate({"name": "r", "base": "thinkery://mini-base", "stages": [stage]})
    with Run(folder) as run:
        run.begin(recipe.name, recipe.seed, recipe.to_yaml())
        stage_run = run.stage(stage.name)
        stage_run.start({"made": "so"})
        log = stage_run.log

        def log_until(step: int, metrics: Any) -> None:
            log(step, metrics)
            if step == after:
                raise KeyboardInterrupt

        stage_run.log = log_until
        context = StageContext(recipe, stage_run, PlainView(), lambda reference: resolve_model("thinkery://mini-base"))
        return run_reward_model(stage, context)


def model_of(folder: Path) -> Path:
    return folder / "checkpoints" / "rm" / "model"


@pytest.fixture(scope="module")
def polite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A reward model that has learnt politeness."""
    folder = tmp_path_factory.mktemp("rm")
    data = write(folder / "pairs.jsonl", pairs(240))
    return folder / "run", run(folder / "run", stage_of(data))


def test_it_learns_a_planted_preference_and_says_so_on_prompts_it_has_not_seen(
    polite: tuple[Path, dict[str, Any]],
) -> None:
    folder, summary = polite
    assert (summary["train"], summary["held_out"]) == (180, 60)
    assert summary["accuracy"] > 0.9
    low, high = summary["accuracy_ci95"]
    assert low <= summary["accuracy"] <= high
    assert 0 <= summary["ece"] < 0.3
    assert sum(row["count"] for row in summary["bins"]) == 60
    assert abs(summary["longer_by_model"] - summary["longer_by_labels"]) < 0.1
    assert json.loads((model_of(folder) / "held_out.json").read_text())["accuracy"] == summary["accuracy"]


def test_the_result_loads_with_plain_transformers_and_scores_the_same(polite: tuple[Path, dict[str, Any]]) -> None:
    folder = model_of(polite[0])
    ours = load_reward_model(folder, dtype="float32", device="cpu")
    texts = [ours.text("What is 7?", "", f"{phrase} It is 3.") for phrase in (*KIND, *RUDE)]
    scores = ours.score(texts)
    assert sum(scores[:5]) > sum(scores[5:]) + 5
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    assert scores == pytest.approx(theirs.tolist(), abs=1e-3)


def test_its_scores_are_scaled_on_what_it_learnt_from(polite: tuple[Path, dict[str, Any]]) -> None:
    model = load_reward_model(model_of(polite[0]), device="cpu")
    rows = pairs(240)
    texts = [model.text(row["prompt"], "", row[side]) for row in rows for side in ("chosen", "rejected")]
    worths = [model.card.worth(score) for score in model.score(texts)]
    mean = sum(worths) / len(worths)
    assert abs(mean) < 0.1
    assert sum((worth - mean) ** 2 for worth in worths) / len(worths) == pytest.approx(1, abs=0.15)
    assert model.card.base == "base"  # and no path of the machine it was made on


def test_a_pointwise_model_that_reads_everything_learns_from_the_thinking(tmp_path: Path) -> None:
    data = write(tmp_path / "labels.jsonl", labels(160))
    summary = run(tmp_path / "run", stage_of(data, objective="pointwise", reads="response", epochs=2))
    assert summary["accuracy"] > 0.9
    assert summary["auc"] > 0.95
    assert summary["ece"] < 0.3
    model = load_reward_model(model_of(tmp_path / "run"), device="cpu")
    assert (model.card.objective, model.card.reads) == ("pointwise", "response")


def test_a_model_that_likes_length_is_found_out(tmp_path: Path, polite: tuple[Path, dict[str, Any]]) -> None:
    data = write(tmp_path / "longer.jsonl", longer(112))
    summary = run(tmp_path / "run", stage_of(data))
    assert summary["longer_by_labels"] == 1.0
    assert summary["longer_by_model"] > 0.9
    assert summary["length_correlation"] > 0.7
    assert abs(polite[1]["length_correlation"]) < 0.6


def test_interrupted_at_any_step_and_started_again_the_weights_are_the_same_bits(tmp_path: Path) -> None:
    stage = stage_of(write(tmp_path / "pairs.jsonl", pairs(16)), save_steps=2, batch_size=6, epochs=2)
    whole = run(tmp_path / "whole", stage)
    for after in (1, 2, 3):  # of four steps
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / f"again-{after}", stage, after=after)
        assert run(tmp_path / f"again-{after}", stage) == whole
        files = [(model_of(tmp_path / name) / "model.safetensors").read_bytes() for name in ("whole", f"again-{after}")]
        assert files[0] == files[1]


def test_no_prompt_is_on_both_sides(tmp_path: Path) -> None:
    rows = [row | {"prompt": f"What is {i % 8}?"} for i, row in enumerate(pairs(40))]
    summary = run(tmp_path / "run", stage_of(write(tmp_path / "pairs.jsonl", rows)))
    assert summary["held_out_prompts"] == 2
    assert (summary["train"], summary["held_out"]) == (30, 10)


def test_what_is_too_long_or_the_same_to_its_reader_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pairs(20)
    rows[0] |= {"chosen": "word " * 200}
    rows[1] |= {"chosen": "<think>one</think>It is.", "rejected": "<think>two</think>It is."}
    summary = run(tmp_path / "run", stage_of(write(tmp_path / "pairs.jsonl", rows), max_length=60))
    assert summary["train"] + summary["held_out"] == 18
    said = capsys.readouterr().out
    assert "1 left out, longer than 60 tokens" in said
    assert "1 left out, their summary is the same on both sides" in said


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (pairs(1), {}, "1 different prompts are left; two at least"),
        (
            [
                *({**row, "chosen": "word " * 200} for row in pairs(3)),
                pairs(4)[3] | {"chosen": "<think>one</think>It is.", "rejected": "<think>two</think>It is."},
            ],
            {"max_length": 60},
            r"nothing to learn from: of 4 rows 3 are longer than 60 tokens \(max_length\), and 1 pairs have the same "
            r"summary on both sides",
        ),
        (
            [row for row in labels(20) if row["safe"]],
            {"objective": "pointwise", "reads": "response"},
            "every response is safe; show both",
        ),
        (labels(4), {}, r"data\.jsonl, line 1: the field chosen is missing"),
        (pairs(4), {"objective": "pointwise"}, r"data\.jsonl, line 1: the field safe is missing"),
    ],
)
def test_data_that_nothing_can_be_learnt_from_are_refused_before_any_training(
    rows: list[dict[str, Any]], fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", stage_of(write(tmp_path / "data.jsonl", rows), **fields))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
