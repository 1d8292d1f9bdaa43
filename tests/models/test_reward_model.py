"""Reward-model checkpoints: scores as Hugging Face computes them, what is read, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from thinkery.models.loading import load_policy
from thinkery.models.reward_model import (
    CARD,
    Card,
    RewardModel,
    batches_of,
    calibrated,
    load_reward_model,
    new_reward_model,
    require_same_tokenizer,
    save_reward_model,
    split_response,
)
from thinkery.models.template import TEMPLATES, Template
from thinkery.types import UserError

pytestmark = pytest.mark.slow

PLAIN = Template("plain", "{% for m in messages %}{{ m.content }}{% endfor %}", answer_tag=False, stop_strings=("ZZ",))
Make = Callable[..., Path]
WEIGHTS = "model.safetensors"


def new(folder: Path, **settings: object) -> RewardModel:
    chosen = {"objective": "pairwise", "reads": "summary", "template": PLAIN, "seed": 0, "device": "cpu"} | settings
    return new_reward_model(folder, dtype="float32", **chosen)


def texts_of(count: int) -> list[str]:
    rng = random.Random(0)
    letters = [chr(ord("A") + i) for i in range(37)]
    return ["".join(rng.choice(letters) for _ in range(rng.randint(1, 40))) + "ZZ" for _ in range(count)]


@pytest.mark.parametrize("model_type", ["qwen3", "qwen2", "llama"])
def test_scores_are_those_of_hugging_face_with_its_own_padding(
    model_type: str, make_checkpoint: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "reward"
    folder.mkdir()
    save_reward_model(new(make_checkpoint(model_type)), folder)
    texts = texts_of(7)
    ours = load_reward_model(folder, dtype="float32", device="cpu").score(texts)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.num_labels == 1
    for side in ("right", "left"):
        tokenizer.padding_side = side
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        assert ours == pytest.approx(theirs.tolist(), abs=2e-5)


def test_the_backbone_is_the_policys_and_the_head_is_counted_from_the_seed(make_checkpoint: Make) -> None:
    folder = make_checkpoint()
    first, again, other = (new(folder, seed=seed) for seed in (1, 1, 2))
    causal = AutoModelForCausalLM.from_pretrained(folder)
    for name, tensor in causal.model.state_dict().items():
        assert torch.equal(tensor, first.model.model.state_dict()[name])
    assert torch.equal(first.model.score.weight, again.model.score.weight)
    assert not torch.equal(first.model.score.weight, other.model.score.weight)
    assert first.model.score.weight.norm().item() == pytest.approx(1, abs=0.4)  # 1 / sqrt(D + 1) each


def test_saved_and_loaded_it_scores_the_same_and_knows_what_it_is(make_checkpoint: Make, tmp_path: Path) -> None:
    made = new(make_checkpoint(), objective="pointwise", reads="response")
    made.card = calibrated(made.card, [1.0, 3.0, -1.0])
    folder = tmp_path / "reward"
    folder.mkdir()
    save_reward_model(made, folder)
    loaded = load_reward_model(folder, dtype="float32", device="cpu")
    assert loaded.card == made.card
    assert loaded.template == made.template
    assert loaded.score(texts_of(5)) == made.score(texts_of(5))
    assert "thinkery" not in (folder / "config.json").read_text()
    assert json.loads((folder / CARD).read_text())["reads"] == "response"


def test_a_score_does_not_depend_on_what_it_is_batched_with(make_checkpoint: Make) -> None:
    model, texts = new(make_checkpoint()), texts_of(12)
    together = model.score(texts)
    assert together == pytest.approx([model.score([text])[0] for text in texts], abs=1e-5)
    assert together == pytest.approx(model.score(texts, max_cells=1), abs=1e-5)
    assert model.score([]) == []


def test_batches_hold_every_row_once_and_keep_to_the_budget() -> None:
    lengths = [random.Random(i).randint(1, 60) for i in range(50)]
    batches = list(batches_of(lengths, 128))
    assert sorted(i for batch in batches for i in batch) == list(range(50))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 128 for batch in batches)


def test_the_summary_is_read_without_the_thinking_and_the_response_with_it(make_checkpoint: Make) -> None:
    folder, template = make_checkpoint(), TEMPLATES["r1-compact"]
    summary = new(folder, template=template)
    response = new(folder, template=template, reads="response")
    assert summary.text("Q", "secret thought", "It is 4.") == summary.text("Q", "", "It is 4.")
    assert summary.text("Q", "", "It is 4.") == "User: Q\nAssistant: <think></think>It is 4.\nUser:"
    assert "secret thought" in response.text("Q", "secret thought", "It is 4.")
    messages = [{"role": "user", "content": "Q"}]
    assert summary.text(messages, "", "a") == summary.text("Q", "", "a")


@pytest.mark.parametrize(
    ("template", "completion", "expected"),
    [
        ("r1-compact", "I think.</think>\nIt is 4.", ("I think.", "It is 4.")),
        ("r1-compact", "</think>Hello!", ("", "Hello!")),
        ("r1-compact", "I think and never", ("I think and never", "")),
        ("r1-zero", "<think>t</think> <answer> 4 </answer>", ("t", "4")),
        ("r1-zero", "<think>t</think> It is 4.", ("t", "It is 4.")),
        ("r1-zero", " It is 4. ", ("", "It is 4.")),
        ("r1-zero", "<think>t", ("t", "")),
        ("r1-zero", "", ("", "")),
    ],
)
def test_a_completion_is_split_as_its_reader_would(template: str, completion: str, expected: tuple[str, str]) -> None:
    assert split_response(TEMPLATES[template], completion) == expected


def test_a_pairwise_score_is_worth_standard_deviations_and_a_pointwise_one_a_probability() -> None:
    card = calibrated(Card("pairwise", "summary", "base"), [2.0, 4.0, 6.0])
    assert [card.worth(score) for score in (2.0, 4.0, 6.0)] == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])
    assert card.lowest == 2.0
    safe = Card("pointwise", "response", "base", mean=9.0, std=3.0)
    assert [safe.worth(score) for score in (0.0, math.log(3), -math.log(3))] == pytest.approx([0.5, 0.75, 0.25])
    assert (safe.worth(1e4), safe.worth(-1e4)) == (1.0, 0.0)
    assert calibrated(card, [1.0, 1.0]).std == 1.0  # nothing to scale by


def test_padding_is_never_the_token_that_scored_texts_end_in(make_checkpoint: Make) -> None:
    ends_in_eos = Template("plain", "{{ messages[0].content }}", answer_tag=False, stop_strings=("B",))
    with pytest.raises(UserError, match="no token to pad with"):
        new(make_checkpoint(), template=ends_in_eos)  # its only special token is B


def test_of_a_text_longer_than_the_context_the_end_is_read(make_checkpoint: Make) -> None:
    model = new(make_checkpoint())
    assert model.context == 1024
    assert model.score(["C" * 500 + "AD" * 512]) == model.score(["AD" * 512])


def test_what_is_no_reward_model_is_refused(make_checkpoint: Make, tmp_path: Path) -> None:
    folder = make_checkpoint()
    for use in (load_reward_model, lambda ref: require_same_tokenizer(ref, AutoTokenizer.from_pretrained(folder))):
        with pytest.raises(UserError, match=r"is no reward model: it has no thinkery_reward_model\.json"):
            use(folder)
        with pytest.raises(UserError, match="no model at"):
            use(tmp_path / "nowhere")


def test_a_reward_model_of_another_tokenizer_is_refused(make_checkpoint: Make, tmp_path: Path) -> None:
    source, folder = make_checkpoint(), tmp_path / "reward"
    folder.mkdir()
    save_reward_model(new(source), folder)
    require_same_tokenizer(folder, AutoTokenizer.from_pretrained(source))
    mini = load_policy("thinkery://mini-base", template=None, device="cpu")
    with pytest.raises(UserError, match="another tokenizer"):
        require_same_tokenizer(folder, mini.tokenizer)


def saved(folder: Path, source: Path) -> Path:
    """A reward model on the backbone of a checkpoint."""
    folder.mkdir()
    save_reward_model(new(source), folder)
    return folder


def test_a_new_one_needs_no_language_head_and_a_trained_one_needs_its_score(
    make_checkpoint: Make, tmp_path: Path
) -> None:
    source = make_checkpoint("llama", tied=False)
    expected = new(source).score(texts_of(3))
    backbone = load_file(source / WEIGHTS)
    del backbone["lm_head.weight"]
    save_file(backbone, source / WEIGHTS, metadata={"format": "pt"})
    assert new(source).score(texts_of(3)) == expected
    with pytest.raises(UserError, match="has no output head"):
        load_policy(source, template=PLAIN, device="cpu")

    folder = saved(tmp_path / "reward", source)
    assert load_reward_model(folder, device="cpu", dtype="float32").score(texts_of(3)) == expected
    with pytest.raises(UserError, match=r"they hold score\.weight, which such a model doesn't have"):
        load_policy(folder, template=PLAIN, device="cpu")
    tensors = load_file(folder / WEIGHTS)
    score = tensors.pop("score.weight")
    for change, words in (
        ({}, r"they lack score\.weight;"),
        ({"score.weight": score.repeat(2, 1)}, r"score\.weight should be of the shape \[1, 32\] and is \[2, 32\]"),
        ({"score.weight": score * float("nan")}, r"not finite \(NaN or infinity\), in score\.weight"),
        ({"score.weight": score, "lm_head.weight": torch.ones(48, 32)}, r"they hold lm_head\.weight"),
    ):
        save_file(tensors | change, folder / WEIGHTS, metadata={"format": "pt"})
        with pytest.raises(UserError, match=words):
            load_reward_model(folder, device="cpu")
    del backbone["model.norm.weight"]
    save_file(backbone, source / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"they lack model\.norm\.weight;"):
        new(source)


@pytest.mark.parametrize(
    "change", [{"objective": "both"}, {"reads": 3}, {"mean": float("nan")}, {"std": 0}, {"lowest": "low"}, {"more": 1}]
)
def test_a_card_that_says_nothing_is_refused(make_checkpoint: Make, tmp_path: Path, change: dict[str, object]) -> None:
    folder = saved(tmp_path / "reward", make_checkpoint())
    path = folder / CARD
    whole = path.read_text()
    for text in (json.dumps(json.loads(whole) | change), whole[:20], "[]"):
        path.write_text(text)
        with pytest.raises(
            UserError, match=r"thinkery_reward_model\.json: not what a stage of kind reward_model writes"
        ):
            load_reward_model(folder, device="cpu")
