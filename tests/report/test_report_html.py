"""The report of a real run folder: complete, self-contained, and safe against what models write."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from jinja2 import Environment

from thinkery.evaluation.metrics import CHINESE, ENGLISH
from thinkery.report import runfiles
from thinkery.report.charts import HEALTH, STORY, charts_for
from thinkery.report.html import ASSETS, write_report
from thinkery.report.runfiles import read_run
from thinkery.run import Run
from thinkery.types import UserError

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;"
MakeRun = Callable[..., Path]


def asset(name: str) -> str:
    return ASSETS.get_source(Environment(), name)[0]


class Page(HTMLParser):
    """The page as a browser would split it: elements with their attributes, text outside scripts, and the data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._data, self._open = "", "", ""
        self.feed(path.read_text(encoding="utf-8"))

    @property
    def data(self) -> Any:
        return json.loads(self._data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = "data" if dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "data":
            self._data += data
        elif self._open not in ("script", "style"):
            self.text += data + " "


@pytest.fixture(scope="session")
def page(finished_run: Path) -> Page:
    path = write_report(finished_run)
    assert path == finished_run / "report.html"
    return Page(path)


def test_numbers_of_the_evaluation_are_on_the_page(page: Page) -> None:
    text = " ".join(page.text.split())
    for expected in ("9.2% → 73.1%", "7.2% to 11.2%", "71.1% to 75.1%", "86.0%", "cons@16", "512 problems", "Held-out"):
        assert expected in text
    assert "Still going on" not in text


def test_the_stage_table_has_every_model_and_marks_the_best(page: Page, finished_run: Path) -> None:
    html = (finished_run / "report.html").read_text(encoding="utf-8")
    table = html[html.index('<table class="stages">') :].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    assert [label for label, _ in rows] == ["pass@1", "Math", "Code", "majority of 16"]
    assert re.findall(r"<th>(.*?)</th>", table) == ["Benchmark", "base", "zero"]
    figures = [re.sub(r"<small>.*?</small>|<(?!/?b>)[^>]*>|\s", "", cells) for _, cells in rows]
    assert figures == ["9.2<b>73.1</b>", "14.2<b>78.1</b>", "4.2<b>68.1</b>", "29.0<b>86.0</b>"]
    assert 'title="95% interval 7.2% to 11.2%"' in table


def test_phenomena_are_on_the_page_with_verdict_test_and_why(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "1 of 3 hold, 1 does not hold, 1 not measured." in text
    assert "gain +0.639 +0.61 to +0.66" in text
    assert "model zero ends 1.5 → 2.25 ratio 1.02 0.97 to 1.07" in text
    for expected in ("✓ holds", "✗ does not hold", "· not measured", "nobody looked.", "the gain in pass@1 +0.639."):
        assert expected in text


def test_phenomena_of_several_runs_go_where_they_are_asked_to(finished_run: Path, tmp_path: Path) -> None:
    before = (finished_run / "report.html").read_bytes() if (finished_run / "report.html").exists() else None
    path = write_report(finished_run, [], tmp_path / "pooled.html", runs=3)
    assert path == tmp_path / "pooled.html"
    assert "phenomena, here" not in Page(path).text
    after = (finished_run / "report.html").read_bytes() if (finished_run / "report.html").exists() else None
    assert before == after


def test_collected_data_and_reward_models_are_on_the_page(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "math 395 6,094 395 1,580 25.0% all 395" in text
    assert "correct 395, wrong 1,185." in text
    assert "accuracy 83.0% 78.0% to 87.0% calibration error 3.1% correlation with length – prefers the longer" in text
    assert len([tag for tag, _ in page.elements if tag == "circle"]) == 2


def test_every_chart_has_its_data_and_its_sentence(page: Page) -> None:
    stage = page.data["stages"]["zero"]
    plots = [attrs["data-title"] for tag, attrs in page.elements if attrs.get("class") == "plot"]
    assert plots == [chart["title"] for chart in stage["charts"]]
    assert {"Accuracy", "Accuracy by level", "Length", "Reflection", "Entropy", "KL to the reference"} <= set(plots)
    for chart in stage["charts"]:
        assert chart["look"] in page.text
        for metric, _ in chart["series"]:
            assert len(stage["metrics"][metric]) == len(stage["metrics"]["step"]) == 60


def test_the_page_loads_nothing(page: Page) -> None:
    links = [(tag, name) for tag, attrs in page.elements for name in ("src", "href", "data", "poster") if name in attrs]
    assert links == []
    policies = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policies
    assert "default-src 'none'" in (policies[0] or "")
    assert "url(" not in asset("report.css")


def test_pairs_are_typical_and_of_the_same_level(page: Page) -> None:
    steps = {step["step"]: step["rows"] for step in page.data["completions"]["zero"]}
    assert list(steps) == [1, 20, 40, 60]
    pairs = page.data["pairs"]
    usual = [sum(row["correct"] for row in steps[step]) >= 5 for step in (1, 60)]
    assert usual == [False, True]
    levels = [old["level"] for old, _ in pairs]
    assert levels[: len(set(levels))] == sorted(set(levels), reverse=True)  # through all levels, the hardest first
    for old, new in pairs:
        assert [old["correct"], new["correct"]] == usual
        assert old["level"] == new["level"]
        assert old in steps[1]
        assert new in steps[60]


def test_pairs_of_a_run_whose_levels_are_not_typical(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "run", steps=20, rows=4)
    for step, correct in ((1, [True, False, False, False]), (20, [False, True, True, True])):
        path = folder / "completions" / f"zero-{step:06d}.parquet"
        rows = pq.read_table(path).to_pylist()
        for i, row in enumerate(rows):  # level 1 is odd at both ends, and no other level is at both
            row |= {"correct": correct[i], "level": 1 if i == 0 else 10 * step + i}
        pq.write_table(pq.read_table(path).from_pylist(rows), path)
    ((old, new),) = Page(write_report(folder)).data["pairs"]
    assert (old["level"], new["level"]) == (1, 1)


def test_the_same_problem_at_both_ends_is_preferred(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "run", steps=20)
    for step in (1, 20):
        path = folder / "completions" / f"zero-{step:06d}.parquet"
        rows = pq.read_table(path).to_pylist()
        rows[3]["problem_id"] = "probe"
        pq.write_table(pq.read_table(path).from_pylist(rows), path)
    pairs = Page(write_report(folder)).data["pairs"]
    assert [[row["problem_id"] for row in pair] for pair in pairs] == [["probe", "probe"]]


def test_hostile_text_stays_text(tmp_path: Path, finished_run: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    with Run(folder) as run:
        text = dict.fromkeys(("problem_id", "prompt", "completion", "thinking", "answer", "reference"), HOSTILE)
        row = text | {"correct": False, "level": 1, "reward": 0.0, "length": 9}
        run.stage("zero").log_completions(60, [row])
        run.begin(HOSTILE, 0, yaml.safe_dump({"name": HOSTILE, "base": HOSTILE, "stages": [{"name": HOSTILE}]}))
        run.save_summary({"stages": {HOSTILE: {"eval": {HOSTILE: {"k": 16, "pass@1": 0.5}}}}})
    hostile, harmless = Page(write_report(folder)), Page(write_report(finished_run))
    assert "img" not in [tag for tag, _ in hostile.elements]
    scripts = [[tag for tag, _ in page.elements].count("script") for page in (hostile, harmless)]
    assert scripts[0] == scripts[1] == 3
    assert hostile.data["completions"]["zero"][-1]["rows"][0]["thinking"] == HOSTILE
    assert HOSTILE in hostile.text
    assert "innerHTML" not in asset("report.js")


def test_a_run_in_progress(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "run", steps=60, until=37)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "zero", "step": 38, "accu')  # being written just now
    page = Page(write_report(folder))
    assert "Still going on: zero: step 37 of 60" in page.text
    assert "first and latest step" in page.text


def test_an_empty_run_folder_gives_a_page(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    page = Page(write_report(tmp_path / "run"))
    assert page.data == {"stages": {}, "completions": {}, "pairs": []}
    assert not [attrs for _, attrs in page.elements if attrs.get("id") == "reader"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "metrics.jsonl").write_text('{"stage": "zero", "step": 1}\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        write_report(tmp_path)


def test_missing_and_repeated_values(tmp_path: Path) -> None:
    lines = [{"step": 2, "kl": 0.5}, {"step": 1, "accuracy": 0.1}, {"step": 2, "kl": None, "accuracy": 0.2}]
    text = "".join(json.dumps({"stage": "zero", "time": 0.0} | line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert read_run(tmp_path).metrics == {"zero": {"step": [1, 2], "accuracy": [0.1, 0.2]}}


def test_long_runs_are_bounded(tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", steps=60, every=5)
    monkeypatch.setattr(runfiles, "MAX_POINTS", 25)
    monkeypatch.setattr(runfiles, "MAX_STEPS", 4)
    monkeypatch.setattr(runfiles, "MAX_ROWS", 3)
    monkeypatch.setattr(runfiles, "MAX_CHARACTERS", 20)
    full = [json.loads(line)["accuracy"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    run = read_run(folder)
    assert run.metrics["zero"]["step"] == [float(step) for step in range(3, 61, 3)]
    assert run.metrics["zero"]["accuracy"][0] == pytest.approx(sum(full[:3]) / 3)
    steps = [step for step, _ in run.completions["zero"]]
    assert len(steps) == 4
    assert (steps[0], steps[-1]) == (1, 60)
    rows = run.completions["zero"][0][1]
    assert len(rows) == 3
    assert rows[0]["completion"].startswith("<think> ")
    assert "characters left out" in rows[0]["completion"]


def test_stages_without_rewards_have_their_own_loss_chart() -> None:
    titles = {part: [chart.title for chart in charts] for part, charts in charts_for(["loss", "grad_norm"]).items()}
    assert titles == {"story": ["Training loss"], "health": ["Gradient norm"]}
    rl = charts_for(["loss", "reward", "accuracy/level_2", "accuracy/level_10", "accuracy/lang_zh"])
    assert "Training loss" not in [chart.title for chart in rl["story"]]
    levels = next(chart for chart in rl["story"] if chart.ordered)
    assert levels.series == (("accuracy/level_2", "level 2"), ("accuracy/level_10", "level 10"))


def test_chart_titles_are_unique() -> None:
    titles = [chart.title for chart in STORY + HEALTH]
    assert len(titles) == len(set(titles))


def test_the_page_marks_the_words_that_evaluation_counts() -> None:
    script = asset("report.js")
    pattern = re.search(r"REFLECTION = /\\b\(\?:(.*?)\)\\b\|(.*?)/gi;", script)
    assert pattern is not None
    assert set(pattern[1].split("|")) == set(ENGLISH)
    assert set(pattern[2].split("|")) == set(CHINESE)
