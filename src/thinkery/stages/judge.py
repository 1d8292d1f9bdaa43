"""Models' responses, judged: preference pairs for a helpful reward model, labels for a safety one.

DeepSeek-R1: several responses to a problem; a pair of them is judged four times with the order drawn at random, the
verdicts are averaged, close pairs are dropped and lengths balanced. Of a response the judge of preferences sees what
the user reads, the summary; the judge of safety sees everything. What is dropped is written down with the reason. Left
out: the rules for pairs (``pairs.py``), the judges themselves, and learning (``reward_model.py``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from statistics import fmean
from typing import Any, TypeVar

from thinkery.files import write_json_atomic
from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.loading import Policy
from thinkery.models.reward_model import split_response
from thinkery.models.template import END_THINK, THINK
from thinkery.problems.source import ProblemSource, open_source
from thinkery.recipe import JudgeStage
from thinkery.rewards.judges import NoVerdict
from thinkery.rollout.base import completion_key
from thinkery.stages.context import StageContext
from thinkery.stages.pairs import (
    Verdicts,
    ask_all,
    balance_lengths,
    choose_pairs,
    draw_orders,
    open_judge,
    pair_figures,
    with_mismatched,
)
from thinkery.stages.parts import read_part, read_parts, write_lines, write_part
from thinkery.types import Judge, Problem, Sampling, UserError

Row = dict[str, Any]
Described = tuple[Row, tuple[str, ...], str | None]  # what to write, what makes it a duplicate, why it is dropped
Question = TypeVar("Question")
V = TypeVar("V")
SETS = {"preference": "helpful", "safety": "safety"}  # task -> the problems that it is about
MAX_UNANSWERED = 0.1  # of a batch's questions; a judge that fails more often is none
_MAX_LOOKED_THROUGH = 64  # problems looked at for one that belongs to the task


def run_judge(stage: JudgeStage, context: StageContext) -> dict[str, Any]:
    """Samples, judges, and writes ``data.jsonl``, ``dropped.jsonl`` and ``table.json``; returns the figures."""
    judge = open_judge(stage.judge, context.view.note)
    problems = problems_of(stage, context)
    work = _Judging(stage, context, judge, problems)
    checkpoint = context.run.latest_checkpoint()
    for step in range(checkpoint[0] if checkpoint else 0, work.steps):
        INTERRUPTS.check()
        name, rows, metrics = work.do(step)
        context.run.log(step + 1, metrics)
        before = context.run.latest_checkpoint()
        context.run.save_checkpoint(
            step + 1,
            lambda folder, before=before, name=name, rows=rows: write_part(  # type: ignore[misc]
                folder, before and before[1], name, rows
            ),
        )
    return finish(stage, context, work.judged())


def problems_of(stage: JudgeStage, context: StageContext) -> list[Problem]:
    """The stage's problems: of a mixture those that belong to its task, by their column ``preference``."""
    spec, wanted = stage.problems, SETS[stage.task]
    source = open_source(spec)
    for note in source.notes:
        context.view.note(f"{stage.name}: {note}")
    found = _first(source, spec.n, wanted)
    if spec.n is not None and 0 < len(found) < spec.n:
        context.view.note(f"{stage.name}: only {len(found):,} problems of the {wanted} set were found")
    if not found:
        raise UserError(
            f"{stage.name}.problems: none belongs to the {wanted} set; its problems say so in a column preference, or "
            f"for a whole source problems.preference: {wanted}"
        )
    return found


class _Judging:
    """The stage's steps: every model answers every batch of problems, then every batch is judged."""

    def __init__(self, stage: JudgeStage, context: StageContext, judge: Judge, problems: Sequence[Problem]) -> None:
        self._stage, self._context, self._judge = stage, context, judge
        size = stage.batch_problems
        self._batches = [problems[first : first + size] for first in range(0, len(problems), size)]
        self._models = [stage.from_, *stage.others]
        self._loaded: tuple[int, Policy] | None = None
        self.steps = (len(self._models) + 1) * len(self._batches)

    def do(self, step: int) -> tuple[str, list[Row], dict[str, float]]:
        """A step's name, rows and metrics."""
        turn, number = divmod(step, len(self._batches))
        if turn < len(self._models):
            rows = self._sample(turn, number)
            return _part(turn, number), rows, {"model": turn, "responses": len(rows)}
        self._loaded = None  # the judge may need the memory
        problems = self._batches[number]
        checkpoint = self._context.run.latest_checkpoint()
        assert checkpoint is not None  # the responses are in it
        responses: dict[str, list[Row]] = {problem.id: [] for problem in problems}
        for turn in range(len(self._models)):
            for row in read_part(checkpoint[1], _part(turn, number)):
                responses[row["problem_id"]].append(row)
        if self._stage.mismatched:
            responses = with_mismatched(responses, self._stage.mismatched, self._context.seed, self._stage.name)
        asked = judge_pairs if self._stage.task == "preference" else judge_labels
        rows = asked(self._stage, self._judge, problems, responses, self._context.seed)
        self._context.view.progress("judging", number + 1, len(self._batches))
        return f"judged-{number:06d}", rows, {"judged": len(rows)}

    def judged(self) -> list[Row]:
        """The judged rows of all batches."""
        checkpoint = self._context.run.latest_checkpoint()
        return list(read_parts(checkpoint[1], "judged-")) if checkpoint else []

    def _sample(self, turn: int, number: int) -> list[Row]:
        """One model's responses to one batch, by problem and index."""
        stage, context, policy = self._stage, self._context, self._policy(turn)
        sampling = Sampling(
            num_generations=stage.num_generations,
            temperature=stage.temperature,
            max_completion_length=stage.max_completion_length,
        )
        rollout = context.runtime.rollout(policy, max_slots=stage.max_slots, spec=stage.rollout)
        problems = self._batches[number]
        found: dict[tuple[str, int], Row] = {}
        total = len(problems) * stage.num_generations
        named = f"{stage.name}/{turn}"  # by place: the same model may be asked twice
        for completion in rollout.generate(problems, sampling, seed=context.seed, step=0, stage=named):
            thinking, answer = split_response(policy.template, completion.text)
            found[completion.problem_id, completion.index] = {
                "problem_id": completion.problem_id,
                "model": self._models[turn],
                "index": completion.index,
                "thinking": thinking,
                "answer": answer,
            }
            if len(found) % 64 == 0 or len(found) == total:
                context.view.progress(f"sampling {self._models[turn]}", len(found), total)
        return [found[problem.id, g] for problem in problems for g in range(stage.num_generations)]

    def _policy(self, turn: int) -> Policy:
        if self._loaded is None or self._loaded[0] != turn:
            self._loaded = None  # two at a time may not fit
            ref = self._models[turn]
            policy = self._context.runtime.policy(
                self._context.resolve(ref),
                template=self._context.template_of(ref, None),
                device=self._stage.device,
                dtype=self._stage.dtype,
            )
            self._loaded = turn, policy
        return self._loaded[1]


def judge_pairs(
    stage: JudgeStage, judge: Judge, problems: Sequence[Problem], responses: dict[str, list[Row]], seed: int
) -> list[Row]:
    """Every chosen pair with its verdicts, kept or not. Raises ``UserError`` if the judge can't be reached or used."""
    rows: list[Row] = []
    questions: list[tuple[Problem, str, str, int]] = []
    for problem in problems:
        answers = [response["answer"] for response in responses[problem.id]]
        rng = Random(completion_key(seed, f"{stage.name}/pairs", 0, problem.id, 0))
        for i, j in choose_pairs([answer.strip() for answer in answers], rng):
            orders = draw_orders(stage.num_verdicts, rng)
            rows.append(_told(problem) | {"responses": [responses[problem.id][k] for k in (i, j)], "swapped": orders})
            for swapped in orders:
                first, second = (answers[j], answers[i]) if swapped else (answers[i], answers[j])
                questions.append((problem, first, second, rng.getrandbits(31)))

    def ask(question: tuple[Problem, str, str, int]) -> int:
        problem, first, second, verdict_seed = question
        return judge.compare(problem, first, second, seed=verdict_seed)

    for row, own in zip(rows, _verdicts(judge, ask, questions, stage.num_verdicts), strict=True):
        given = [
            (verdict, swapped) for verdict, swapped in zip(own, row["swapped"], strict=True) if verdict is not None
        ]
        row["verdicts"] = [-verdict if swapped else verdict for verdict, swapped in given]
        row["swapped"] = [swapped for _, swapped in given]
    return rows


def judge_labels(
    stage: JudgeStage, judge: Judge, problems: Sequence[Problem], responses: dict[str, list[Row]], seed: int
) -> list[Row]:
    """Every response with the judge's labels, True for unsafe; equal responses to a problem are asked about once."""
    rows: list[Row] = []
    questions: list[tuple[Problem, str, int]] = []
    for problem in problems:
        rng = Random(completion_key(seed, f"{stage.name}/labels", 0, problem.id, 0))
        different: dict[str, Row] = {}
        for response in responses[problem.id]:
            different.setdefault(whole_text(response), response)
        for text, response in different.items():
            rows.append(_told(problem) | {"response": response})
            questions += [(problem, text, rng.getrandbits(31)) for _ in range(stage.num_verdicts)]

    def ask(question: tuple[Problem, str, int]) -> bool:
        problem, text, verdict_seed = question
        return judge.unsafe(problem, text, seed=verdict_seed)

    for row, own in zip(rows, _verdicts(judge, ask, questions, stage.num_verdicts), strict=True):
        row["verdicts"] = [verdict for verdict in own if verdict is not None]
    return rows


def whole_text(response: Row) -> str:
    """All of a response, as the judge of safety reads it."""
    return (
        f"{THINK}{response['thinking']}{END_THINK}{response['answer']}" if response["thinking"] else response["answer"]
    )


def finish(stage: JudgeStage, context: StageContext, judged: Sequence[Row]) -> dict[str, Any]:
    """Decides what is kept, writes the stage's output, and returns its figures."""
    rng = Random(completion_key(context.seed, f"{stage.name}/balance", 0, "", 0))
    if stage.task == "preference":
        kept, dropped = keep_pairs(judged, stage.min_gap, rng if stage.balance_lengths else None)
        figures = {"pairs": len(kept)} | pair_figures(kept) | _order_figures(judged)
    else:
        kept, dropped = keep_labels(judged)
        figures = {"labels": len(kept)}
        figures |= {"safe": fmean(row["safe"] for row in kept)} if kept else {}
    reasons = Counter(row["reason"] for row in dropped)
    if not kept:
        raise UserError(
            f"{stage.name}: none of {len(judged)} judged responses or pairs is left ({_listed(reasons)}); take more "
            "problems, models that differ more, or a lower min_gap"
        )
    table = table_of(stage, kept, dropped)
    context.run.save_output(lambda folder: _write(folder, kept, dropped, table))
    context.view.note(f"{stage.name}: kept {len(kept):,} of {len(judged):,}; dropped: {_listed(reasons) or 'none'}")
    return figures | {"judged": len(judged)} | {f"dropped/{reason}": count for reason, count in reasons.items()}


def keep_pairs(judged: Sequence[Row], min_gap: float, balance: Random | None) -> tuple[list[Row], list[Row]]:
    """The pairs to learn from, and the others with their reasons: no_verdict, unreadable, gap, duplicate, length."""

    def described(row: Row) -> Described:
        mean = Verdicts(tuple(row["verdicts"]), tuple(row["swapped"])).mean
        rejected, chosen = row["responses"] if mean > 0 else reversed(row["responses"])
        record = {"chosen": _response(chosen), "rejected": _response(rejected), "gap": abs(mean)}
        record |= {"verdicts": row["verdicts"], "swapped": row["swapped"]}
        reason = None
        if not row["verdicts"]:
            reason = "no_verdict"
        elif not (_readable(chosen) and _readable(rejected)):
            reason = "unreadable"
        elif abs(mean) <= min_gap:
            reason = "gap"
        return record, (chosen["answer"], rejected["answer"]), reason

    kept, dropped = _divided(judged, described)
    if balance is not None:
        lengths = [[len(row[side]["answer"]) for row in kept] for side in ("chosen", "rejected")]
        balanced = balance_lengths(lengths[0], lengths[1], balance)
        dropped += [kept[index] | {"reason": "length"} for index in balanced.dropped]
        kept = [kept[index] for index in balanced.kept]
    return kept, dropped


def keep_labels(judged: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The labels to learn from, by the majority of the verdicts, and the others with their reasons.

    Those are no_verdict, unreadable, undecided, duplicate.
    """

    def described(row: Row) -> Described:
        verdicts = row["verdicts"]
        unsafe = fmean(verdicts) if verdicts else 0.5
        record = _response(row["response"]) | {"safe": unsafe < 0.5, "unsafe_share": unsafe}
        reason = None
        if not verdicts:
            reason = "no_verdict"
        elif not _readable(row["response"]):
            reason = "unreadable"
        elif unsafe == 0.5:
            reason = "undecided"
        return record, (record["thinking"], record["answer"]), reason

    return _divided(judged, described)


def _divided(judged: Sequence[Row], described: Callable[[Row], Described]) -> tuple[list[Row], list[Row]]:
    """What is kept, and what is dropped with its reason; the second of equal ones is a duplicate."""
    kept: list[Row] = []
    dropped: list[Row] = []
    seen: set[str] = set()
    for number, row in enumerate(judged):
        record, texts, reason = described(row)
        about = {name: row[name] for name in ("problem_id", "prompt", "domain", "language", "level")}
        record = {"id": f"{row['problem_id']}#{number}"} | about | record
        content = json.dumps([row["prompt"], *texts])
        if reason is None and content in seen:
            reason = "duplicate"
        if reason is None:
            seen.add(content)
            kept.append(record)
        else:
            dropped.append(record | {"reason": reason})
    return kept, dropped


def table_of(stage: JudgeStage, kept: Sequence[Row], dropped: Sequence[Row]) -> list[Row]:
    """One row a domain, and ``all``: how many are kept, their figures, how many were dropped for what."""
    domains = sorted({row["domain"] for row in [*kept, *dropped]})
    rows: list[Row] = []
    for domain in [*domains, "all"]:
        own = [row for row in kept if domain in (row["domain"], "all")]
        lost = Counter(row["reason"] for row in dropped if domain in (row["domain"], "all"))
        figures = pair_figures(own) if stage.task == "preference" else _label_figures(own)
        rows.append({"domain": domain, "samples": len(own)} | figures | {"dropped": dict(sorted(lost.items()))})
    return rows


def _order_figures(judged: Sequence[Row]) -> dict[str, float]:
    """How often both orders prefer the same response, and how often what was shown first is preferred."""
    verdicts = [Verdicts(tuple(row["verdicts"]), tuple(row["swapped"])) for row in judged]
    agreements = [one.agree for one in verdicts if one.agree is not None]
    first, decided = (sum(one.for_first[i] for one in verdicts) for i in (0, 1))
    figures = {"order_agreement": fmean(agreements)} if agreements else {}
    return figures | ({"first_preferred": first / decided} if decided else {})


def _label_figures(labels: Sequence[Row]) -> dict[str, float]:
    return {"safe": fmean(label["safe"] for label in labels)} if labels else {}


def _first(source: ProblemSource, count: int | None, wanted: str) -> list[Problem]:
    """The first ``count`` problems that belong to the task, looked for among more and more of the source."""
    found = [problem for problem in source.fixed(count) if _fits(problem, wanted)]
    size = count or 0
    while count is not None and len(found) < count and size < _MAX_LOOKED_THROUGH * count:
        size *= 2
        try:
            found = [problem for problem in source.fixed(size) if _fits(problem, wanted)]
        except UserError:
            break  # the source has no more
    return found[:count]


def _fits(problem: Problem, wanted: str) -> bool:
    return bool(problem.columns.get("preference", wanted) == wanted)


def _part(turn: int, number: int) -> str:
    return f"responses-{turn:03d}-{number:06d}"


def _told(problem: Problem) -> Row:
    """What a row says of its problem."""
    prompt = problem.prompt if isinstance(problem.prompt, str) else [dict(message) for message in problem.prompt]
    about = {"domain": problem.domain, "language": problem.language, "level": problem.level}
    return {"problem_id": problem.id, "prompt": prompt} | about


def _response(row: Row) -> Row:
    return {name: row[name] for name in ("thinking", "answer", "model", "index")}


def _readable(row: Row) -> bool:
    """Whether it is text: a small byte-level model now and then writes a NUL, which no reader of data sets takes."""
    return "\0" not in row["thinking"] + row["answer"]


def _verdicts(
    judge: Judge, ask: Callable[[Question], V], questions: Sequence[Question], each: int
) -> Iterator[list[V | None]]:
    """The answers to so many questions in a row at a time, None where there was none.

    Raises ``UserError`` if too many are missing.
    """

    def asked(question: Question) -> V | None:
        try:
            return ask(question)
        except NoVerdict:
            return None

    verdicts = list(ask_all(judge, asked, questions))
    missing = sum(verdict is None for verdict in verdicts)
    if missing > MAX_UNANSWERED * len(verdicts):
        raise UserError(
            f"the judge gave no verdict to {missing} of {len(verdicts)} questions: ask a model that can answer in JSON"
        )
    for first in range(0, len(verdicts), each):
        yield verdicts[first : first + each]


def _write(folder: Any, kept: Iterable[Row], dropped: Iterable[Row], table: Sequence[Row]) -> None:
    write_lines(folder / "data.jsonl", kept)
    write_lines(folder / "dropped.jsonl", dropped)
    write_json_atomic(folder / "table.json", list(table))


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
