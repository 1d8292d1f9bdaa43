"""Model -> demonstrations: the cold start (from R1-Zero) and rejection sampling (from Dev2) are this one stage.

DeepSeek-R1: several samples a problem; kept are those that are correct (where no rule can check, a judge compares with
the reference) and readable, the best first; they are refined into what people like to read and verified again; the
whole set is cleared of near duplicates and of what benchmarks hold. Every sample is written down with the reason why
it was kept or dropped. Left out: the parts themselves (``collecting``).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.loading import Policy
from thinkery.problems.source import read_benchmarks
from thinkery.recipe import CollectStage
from thinkery.rewards.grader import Grader
from thinkery.stages.collecting.filters import Matcher, SecondLook, fault
from thinkery.stages.collecting.preparing import open_grader, open_policy, open_problems
from thinkery.stages.collecting.rewriting import open_refiner
from thinkery.stages.collecting.samples import (
    KEPT,
    CollectedSample,
    CollectionTable,
    Reason,
    onward,
    read_parts,
    sift,
    write_part,
    write_set,
)
from thinkery.stages.context import StageContext
from thinkery.stages.sampling import progress, sample_and_grade
from thinkery.types import Group, Problem, Sampling, UserError

SampleStep = Callable[[Sequence[CollectedSample]], list[CollectedSample]]


def run_collect(stage: CollectStage, context: StageContext) -> dict[str, Any]:
    """Writes ``data.jsonl``, ``dropped.jsonl`` and ``table.json``; returns the table's figures."""
    policy = open_policy(stage, context)
    benchmarks = read_benchmarks(stage.decontaminate) if stage.decontaminate else None
    with open_grader(stage, context, policy) as grader:
        problems = open_problems(stage, context, policy, grader)
        collector = Collector(stage, context, policy, grader, problems)
        first, parts = context.run.latest_checkpoint() or (0, None)
        for batch in range(first, -(-len(problems) // stage.batch_problems)):
            INTERRUPTS.check()
            started = time.monotonic()
            samples = collector.collect(problems[batch * stage.batch_problems :][: stage.batch_problems], batch)
            record(context, batch + 1, samples, time.monotonic() - started)
            context.run.save_checkpoint(batch + 1, partial(write_part, before=parts, batch=batch, samples=samples))
            _, parts = context.run.latest_checkpoint() or (0, None)
    assert parts is not None  # there is a problem, so there was a batch
    table, lost = CollectionTable(), sift(read_parts(parts), stage.deduplicate, benchmarks)
    context.run.save_output(lambda folder: write_set(parts, lost, table, folder))
    context.view.note(f"{stage.name}:\n{table.text()}")
    summary = table.summary()
    if not summary["samples"]:
        raise UserError(f"{stage.name}: no sample was kept; {context.run.output / 'dropped.jsonl'} says why")
    return summary


class Collector:
    """Turns batches of problems into samples, each kept or dropped for a reason. Holds nothing from batch to batch."""

    def __init__(
        self, stage: CollectStage, context: StageContext, policy: Policy, grader: Grader, problems: Sequence[Problem]
    ) -> None:
        self.stage, self.context, self.policy, self.grader = stage, context, policy, grader
        self.matcher = Matcher(stage, context.seed, problems, context.view.note)
        self.second_look = SecondLook(grader, policy.template, context.recipe.verification.step_deadline_s)
        self.refiner = open_refiner(stage, policy, problems, context)
        self.rollout = context.runtime.rollout(policy, max_slots=stage.max_slots, spec=stage.rollout)
        self.sampling = Sampling(
            num_generations=stage.num_generations,
            temperature=stage.temperature,
            top_p=stage.top_p,
            max_completion_length=stage.max_completion_length,
        )

    def collect(self, problems: Sequence[Problem], batch: int) -> list[CollectedSample]:
        """All samples of a batch, in the order of its problems.

        A problem's samples are admitted best first until it has its number; one that fails gives way to the next.
        """
        samples = onward(self._sampled(problems, batch), self._readable)
        settled = [sample for sample in samples if sample.reason is not None]
        waiting: dict[str, list[CollectedSample]] = {problem.id: [] for problem in problems}
        for sample in sorted(samples, key=lambda sample: (-sample.worth, sample.index)):
            if sample.reason is None:
                waiting[sample.problem.id].append(sample)
        kept: Counter[str] = Counter()
        while chosen := self._next(waiting, kept):
            admitted = self._admitted(chosen, batch)
            kept.update(sample.problem.id for sample in admitted if sample.reason in KEPT)
            settled += admitted
        settled += [sample.settled(Reason.SURPLUS) for rest in waiting.values() for sample in rest]
        order = {problem.id: position for position, problem in enumerate(problems)}
        return self._counted(sorted(settled, key=lambda sample: (order[sample.problem.id], sample.index)))

    def _next(self, waiting: dict[str, list[CollectedSample]], kept: Counter[str]) -> list[CollectedSample]:
        """The samples to be looked at next, taken out of those that wait."""
        chosen: list[CollectedSample] = []
        for problem, samples in waiting.items():
            missing = self.stage.max_per_problem - kept[problem]
            chosen += samples[:missing]
            del samples[:missing]
        return chosen

    def _sampled(self, problems: Sequence[Problem], batch: int) -> list[CollectedSample]:
        """Every completion, graded; dropped where it never ended, is not well formed or wrong."""
        by_id, count = {problem.id: problem for problem in problems}, self.stage.num_generations
        completions = self.rollout.generate(
            problems, self.sampling, seed=self.context.seed, step=batch, stage=self.stage.name
        )
        total = len(problems) * count
        sample_and_grade(completions, by_id.__getitem__, self.grader, progress(self.context.view, "sampling", total))
        groups = self.grader.collect(problems, count)
        return [self._read(group, index) for group in groups for index in range(count)]

    def _read(self, group: Group, index: int) -> CollectedSample:
        completion, verdict = group.completions_G[index], group.verdicts_G[index]
        parsed = self.policy.template.parse(completion.text)
        worth = 0.0 if self.stage.best_by is None else group.rewards_G[self.stage.best_by][index]
        thinking, answer = (parsed.thinking or "").strip(), parsed.answer or ""
        sample = CollectedSample(
            group.problem, index, completion.text, thinking, answer, verdict, -math.inf if worth is None else worth
        )
        if completion.finish_reason != "stop":
            return sample.settled(Reason.TRUNCATED, f"at {len(completion.token_ids)} tokens")
        if not parsed.well_formed or "\0" in completion.text:  # a NUL is no text: no reader of data sets takes it
            return sample.settled(Reason.MALFORMED)
        if not verdict.correct and not sample.unchecked:
            return sample.settled(Reason.WRONG, f"{verdict.outcome}: {verdict.reason}")
        return sample

    def _readable(self, samples: Sequence[CollectedSample], *, again: bool = False) -> list[CollectedSample]:
        """Drops what nobody would like to read. Before it is translated, thinking may be in any language."""
        any_language = not again and self.stage.refine is not None and self.stage.refine.translate
        lengths = self._lengths([sample.thinking for sample in samples])
        faults = (
            fault(self.stage.readable, sample.thinking, length, sample.problem.language, any_language=any_language)
            for sample, length in zip(samples, lengths, strict=True)
        )
        return [sample.settled(*why) if why else sample for sample, why in zip(samples, faults, strict=True)]

    def _admitted(self, samples: Sequence[CollectedSample], batch: int) -> list[CollectedSample]:
        """Matches, refines and verifies: every sample comes back settled."""
        steps: list[SampleStep] = [self.matcher.match]
        if (refiner := self.refiner) is not None:
            steps += [
                lambda some: refiner.refine(some, batch),
                self.second_look.verify,
                lambda some: self._readable(some, again=True),
                self.matcher.match,
            ]
        for step in steps:
            samples = onward(samples, step)
        return onward(
            samples, lambda some: [one.settled(Reason.MATCHED if one.unchecked else Reason.CORRECT) for one in some]
        )

    def _counted(self, samples: Sequence[CollectedSample]) -> list[CollectedSample]:
        """The samples with their tokens, as the template writes them."""
        texts = [self.policy.template.write(sample.thinking, sample.answer) for sample in samples]
        lengths = self._lengths(texts)
        return [replace(sample, tokens=length) for sample, length in zip(samples, lengths, strict=True)]

    def _lengths(self, texts: list[str]) -> list[int]:
        if not texts:
            return []
        return [len(ids) for ids in self.policy.tokenizer(texts, add_special_tokens=False)["input_ids"]]


def record(context: StageContext, step: int, samples: Sequence[CollectedSample], seconds: float) -> None:
    """What became of a batch, for the record and for whoever watches."""
    reasons = Counter(sample.reason for sample in samples if sample.reason is not None)
    kept = [sample for sample in samples if sample.reason in KEPT]
    checked = [sample.verdict.correct for sample in samples if not sample.unchecked]
    metrics = {f"collect/{reason}": float(count) for reason, count in sorted(reasons.items())}
    metrics |= {"collect/kept": float(len(kept)), "collect/kept_share": len(kept) / len(samples), "time/step": seconds}
    if checked:
        metrics["accuracy"] = statistics.fmean(checked)
    if kept:
        metrics["collect/mean_tokens"] = statistics.fmean(sample.tokens for sample in kept)
    context.run.log(step, metrics)
    context.view.step(step, metrics)
