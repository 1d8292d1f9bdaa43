"""Reward models: a causal checkpoint's backbone with one score on top, in and out of Hugging Face folders.

What a reward model reads is one text: prompt, response and the template's first stop string, so that the score is
always read at the same last token. A *helpful* one reads the summary alone, with the thinking left empty; a *safety*
one reads all of the response (DeepSeek-R1). The folder loads with plain ``AutoModelForSequenceClassification`` and
scores the same there; what Hugging Face has no field for is in ``thinkery_reward_model.json``. Left out: learning
(``training/preference.py``), heads with several outputs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from thinkery.models.attention import CausalLayout, check_supported, hidden_states
from thinkery.models.loading import DTYPES, place_of, resolve_model, saved_template
from thinkery.models.pretrained import in_words, make_model, read_config, read_tokenizer, read_weights
from thinkery.models.template import END_THINK, Template
from thinkery.types import Dtype, Message, RewardModelObjective, RewardModelReads, UserError

CARD = "thinkery_reward_model.json"
SCORE_TOKENS = 16384  # cells of padded rows that are scored at once
_PROBE = "User: 1 + 23 = 24, 你好! def f(x):\n\treturn x\n"  # tokenised by two tokenizers to tell them apart


@dataclass(frozen=True, slots=True)
class Card:
    """What a checkpoint's scores mean.

    ``mean`` and ``std`` are of the raw scores of the responses it learnt from, ``lowest`` is the least of them;
    ``base`` is the checkpoint that it was made from.
    """

    objective: RewardModelObjective
    reads: RewardModelReads
    base: str
    mean: float = 0.0
    std: float = 1.0
    lowest: float = 0.0

    def worth(self, score: float) -> float:
        """A raw score as a reward that means something beside an accuracy of 0 or 1.

        Pairwise: ``(score - mean) / std``, for a Bradley-Terry score has neither a zero nor a unit of its own.
        Pointwise: the probability that the response is safe, ``1 / (1 + exp(-score))``.
        """
        if self.objective == "pairwise":
            return (score - self.mean) / self.std
        return sigmoid(score)


@dataclass
class RewardModel:
    """A model with one score; fp32 master weights, forwards in ``compute_dtype``."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    card: Card
    device: torch.device
    compute_dtype: torch.dtype

    def text(self, prompt: str | Sequence[Message], thinking: str, answer: str) -> str:
        """The text that is scored: of a response all that this model ``reads``."""
        if self.card.reads == "summary":
            thinking = ""
        ending = self.template.stop_strings[0] if self.template.stop_strings else ""
        return self.template.render(prompt) + self.template.write(thinking, answer) + ending

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts. The template carries all special tokens."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def score(self, texts: Sequence[str], *, max_cells: int = SCORE_TOKENS) -> list[float]:
        """Raw scores of texts, in their order; at most ``max_cells`` cells of padded rows go through at once.

        Of a text longer than the model's context the beginning is not read: a long completion must not end a run.
        """
        rows = self.encode(texts)
        return self.score_rows(rows if self.context is None else [row[-self.context :] for row in rows], max_cells)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Sequence[int]], max_cells: int = SCORE_TOKENS) -> list[float]:
        """Raw scores of texts given as token ids, none empty and none longer than the context."""
        scores = [0.0] * len(rows)
        for batch in batches_of([len(row) for row in rows], max_cells):
            for index, value in zip(batch, self.forward([rows[i] for i in batch]).tolist(), strict=True):
                scores[index] = value
        return scores

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of texts, none empty -> their scores [B] in fp32, differentiable."""
        lengths_B = torch.tensor([len(row) for row in rows])
        ids_BT = torch.zeros(len(rows), int(lengths_B.max()), dtype=torch.long)
        for row_T, row in zip(ids_BT, rows, strict=True):
            row_T[: len(row)] = torch.tensor(row)
        with self.autocast():
            hidden_BTD = hidden_states(self.model, ids_BT.to(self.device), None, CausalLayout())
        last_BD = hidden_BTD[torch.arange(len(rows), device=self.device), lengths_B.to(self.device) - 1]
        return nn.functional.linear(last_BD.float(), score_head(self.model).weight)[:, 0]

    def autocast(self) -> AbstractContextManager[object]:
        """The context that the backbone runs in; the score itself is computed in fp32."""
        if self.compute_dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads; None where its configuration doesn't say."""
        length: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return length


def sigmoid(score: float) -> float:
    """``1 / (1 + exp(-score))``, without overflow."""
    return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else 1.0 - 1.0 / (1.0 + math.exp(score))


def split_response(template: Template, completion: str) -> tuple[str, str]:
    """A completion as (thinking, summary): what the summary's reader sees, also where the form is broken.

    Without thinking all is summary. Without the answer's tag the summary is what follows the thinking; thinking that
    never ends has no summary, "".
    """
    parsed = template.parse(completion)
    if parsed.answer is not None:
        return parsed.thinking or "", parsed.answer
    if parsed.thinking is None:
        return "", completion.strip()
    _, _, after = completion.partition(END_THINK)
    return parsed.thinking, after.strip()


def score_head(model: PreTrainedModel) -> nn.Linear:
    """The linear map from the last hidden state to the score; it has no bias."""
    return cast(nn.Linear, model.get_submodule("score"))


def batches_of(lengths: Sequence[int], max_cells: int) -> Iterator[list[int]]:
    """Indices of rows in batches of at most ``max_cells`` padded cells, long rows first; one row always fits."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_cells:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def new_reward_model(
    ref: str | Path,
    *,
    objective: RewardModelObjective,
    reads: RewardModelReads,
    template: Template | None,
    seed: int,
    device: str = "auto",
    dtype: Dtype = "bfloat16",
) -> RewardModel:
    """A reward model on the backbone of a causal checkpoint.

    The head is drawn from N(0, 1 / (D + 1)) (Stiennon et al. 2020), counted from ``seed``. ``template`` None takes the
    one saved with the checkpoint. Raises ``UserError`` if the checkpoint can't be one.
    """
    path = resolve_model(str(ref))
    config = read_config(path, str(ref))
    check_supported(config)
    tokenizer = read_tokenizer(path, str(ref))
    causal = read_weights(AutoModelForCausalLM, path, config, str(ref), headless=True)
    template = template or saved_template(path)
    model = _with_head(causal, seed, str(ref))
    pad = _pad_token(tokenizer, template, str(ref))
    tokenizer.pad_token = pad
    model.config.pad_token_id = tokenizer.convert_tokens_to_ids(pad)
    place = place_of(device)
    cast(nn.Module, model).to(place).eval()
    return RewardModel(model, tokenizer, template, Card(objective, reads, str(ref)), place, DTYPES[dtype])


def load_reward_model(ref: str | Path, *, device: str = "auto", dtype: Dtype = "bfloat16") -> RewardModel:
    """Loads what ``save_reward_model`` wrote. Raises ``UserError`` if ``ref`` is no reward model."""
    path = resolve_model(str(ref))
    card = read_card(path)
    config = read_config(path, str(ref))
    check_supported(config)
    tokenizer = read_tokenizer(path, str(ref))
    model = read_weights(AutoModelForSequenceClassification, path, config, str(ref))
    place = place_of(device)
    cast(nn.Module, model).to(place).eval()
    return RewardModel(model, tokenizer, saved_template(path), card, place, DTYPES[dtype])


def save_reward_model(reward_model: RewardModel, folder: Path) -> None:
    """Writes weights (fp32), tokenizer, template and card to an existing folder, in Hugging Face format."""
    tokenizer = copy.copy(reward_model.tokenizer)
    tokenizer.chat_template = reward_model.template.chat_template
    reward_model.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    reward_model.template.save(folder)
    card = json.dumps(asdict(reward_model.card), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / CARD).write_text(card + "\n", encoding="utf-8")


def read_card(ref: str | Path) -> Card:
    """The card of a checkpoint. Raises ``UserError`` if it is no reward model, or one of another maker."""
    path = resolve_model(str(ref))
    with in_words(f"the reward model {ref}", path):
        found = cached_file(path, CARD, _raise_exceptions_for_missing_entries=False)
    if found is None:
        raise UserError(
            f"{ref} is no reward model: it has no {CARD}; name a stage of kind reward_model, or the folder that one "
            "wrote"
        )
    try:
        card = Card(**json.loads(Path(found).read_text(encoding="utf-8")))
        if (
            card.objective not in get_args(RewardModelObjective)
            or card.reads not in get_args(RewardModelReads)
            or card.std <= 0
        ):
            raise ValueError(f"objective {card.objective!r}, reads {card.reads!r}, std {card.std!r}")
        if not all(map(math.isfinite, (card.mean, card.std, card.lowest))):
            raise ValueError("its mean, std and lowest are not all finite")
    except (ValueError, TypeError) as error:
        raise UserError(f"{found}: not what a stage of kind reward_model writes ({error}); train it again") from None
    return card


def calibrated(card: Card, scores: Sequence[float]) -> Card:
    """The card with the mean, the standard deviation and the minimum of raw training scores."""
    mean = math.fsum(scores) / len(scores)
    std = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return replace(card, mean=mean, std=std or 1.0, lowest=min(scores))


def require_same_tokenizer(reward_model: str | Path, policy_tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ``UserError`` if ``reward_model`` is no reward model, or one with another tokenizer than the policy's.

    It is scored on text, so it would not fail; but it would read that text in other tokens than those that it was
    chosen and compared with, and a user who names one has most likely named the wrong folder.
    """
    path = resolve_model(str(reward_model))
    read_card(path)
    own = read_tokenizer(path, str(reward_model))
    same = own.get_vocab() == policy_tokenizer.get_vocab()
    if not same or own(_PROBE)["input_ids"] != policy_tokenizer(_PROBE)["input_ids"]:
        raise UserError(
            f"the reward model {reward_model} has another tokenizer ({len(own):,} tokens) than the policy "
            f"({len(policy_tokenizer):,} tokens): make one from the policy's own base"
        )


def _with_head(causal: PreTrainedModel, seed: int, ref: str) -> PreTrainedModel:
    """The causal model's backbone under a sequence-classification head, without a copy of its weights."""
    config: PreTrainedConfig = copy.deepcopy(causal.config)
    config.num_labels = 1
    with torch.device("meta"):  # all its weights are replaced below
        model = make_model(AutoModelForSequenceClassification, config, f"{ref} as a reward model")
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise UserError(f"{ref} can't become a reward model: {type(model).__name__} has no linear score")
    setattr(model, model.base_model_prefix, causal.get_submodule(causal.base_model_prefix))
    width = int(config.get_text_config().hidden_size)
    key = hashlib.blake2b(f"{seed}/score head".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key) >> 1)
    model.score = nn.Linear(width, 1, bias=False)
    with torch.no_grad():
        model.score.weight.copy_(torch.randn(1, width, generator=generator) / math.sqrt(width + 1))
    return model


def _pad_token(tokenizer: PreTrainedTokenizerBase, template: Template, ref: str) -> str:
    """A token to pad with that no scored text ends in: Hugging Face reads the score before the padding."""
    ending = template.stop_strings[0] if template.stop_strings else ""
    last = tokenizer(ending, add_special_tokens=False)["input_ids"][-1:] if ending else []
    for token in [tokenizer.pad_token, tokenizer.eos_token, *tokenizer.all_special_tokens]:
        if token is not None and [tokenizer.convert_tokens_to_ids(token)] != last:
            return str(token)
    raise UserError(f"{ref} has no token to pad with: set pad_token in its tokenizer")
