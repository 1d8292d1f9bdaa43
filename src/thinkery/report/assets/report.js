// Draws the curves and runs the reader. Everything that a model wrote reaches the page as text, never as markup.
"use strict";

const run = JSON.parse(document.getElementById("data").textContent);
// The words of evaluation/metrics.py, which counts them; here they are only marked.
const REFLECTION = /\b(?:wait|mistake|however|but|retry|error|verify|wrong|evaluate|check)\b|等等|检查|验算|不对|错|重新/gi;
const PAGE = 12; // completions shown at once
const LONG = 700; // characters of thinking that are shown folded

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// --- curves ---------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const ORDERED = {
  light: ["#e0a33a", "#d9743f", "#b94a6c", "#7a4597", "#2f4f9e"],
  dark: ["#f3c969", "#f19a66", "#e67b9c", "#b48ae0", "#86b6f5"],
};

function palette(chart) {
  const count = chart.series.length;
  if (chart.ordered && count > 1) {
    const shades = ORDERED[dark.matches ? "dark" : "light"];
    return chart.series.map((_, i) => shades[Math.round((i * (shades.length - 1)) / (count - 1))]);
  }
  const colors = [color("--after"), color("--before"), color("--right"), color("--soft")];
  return chart.series.map((_, i) => colors[i % colors.length]);
}

// Mean over a window around every point; gaps stay out of the mean and a curve that never logged there stays away.
function smooth(values) {
  const half = Math.floor(values.length / 24);
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - half), i + half + 1).filter((v) => v !== null);
    return near.length ? near.reduce((a, b) => a + b, 0) / near.length : null;
  });
}

const FORMATS = { share: ".1%", count: ",.0f", figure: ".4~g" };
const TICKS = { share: ".2~%", count: "~s", figure: ".2~g" };

function traces(chart, metrics) {
  const colors = palette(chart);
  return chart.series.flatMap(([metric, label], i) => {
    const common = { x: metrics.step, mode: "lines", type: "scatter", connectgaps: true };
    const thin = { ...common, y: metrics[metric], line: { color: colors[i], width: 1 }, opacity: 0.28, hoverinfo: "skip", showlegend: false };
    const format = FORMATS[chart.style];
    const thick = {
      ...common, y: smooth(metrics[metric]), name: label, line: { color: colors[i], width: 2.5 },
      hovertemplate: `%{y:${format}} ${chart.series.length > 1 ? label : ""}<extra></extra>`,
    };
    return [thin, thick];
  });
}

function layout(chart) {
  const axis = { gridcolor: color("--line"), zeroline: false, linecolor: color("--line"), fixedrange: true };
  return {
    margin: { l: 40, r: 8, t: 6, b: 28 },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { family: color("--sans"), size: 12, color: color("--soft") },
    xaxis: { ...axis, showgrid: false, nticks: 8, unifiedhovertitle: { text: "step %{x}" },
      spikemode: "across", spikethickness: -2, spikecolor: color("--soft"), spikedash: "dot" },
    yaxis: { ...axis, rangemode: "tozero", nticks: 6, automargin: true, tickformat: TICKS[chart.style] },
    hovermode: "x unified", dragmode: false,
    hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } },
    showlegend: chart.series.length > 1,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 }, itemclick: "toggle" },
  };
}

// Only what is unfolded: a ladder has far more curves than anybody looks at.
function drawCurves() {
  for (const section of document.querySelectorAll(".curves[open]")) {
    const stage = run.stages[section.dataset.stage];
    for (const plot of section.querySelectorAll(".plot")) {
      const chart = stage.charts.find((c) => c.title === plot.dataset.title);
      Plotly.react(plot, traces(chart, stage.metrics), layout(chart), { displayModeBar: false, responsive: true });
    }
  }
}

// --- one completion -------------------------------------------------------------------------------------------------

function marked(className, text) {
  const block = element("div", className);
  let end = 0;
  for (const match of text.matchAll(REFLECTION)) {
    block.append(text.slice(end, match.index), element("mark", "", match[0]));
    end = match.index + match[0].length;
  }
  block.append(text.slice(end));
  return block;
}

function foldable(className, text) {
  const block = marked(className, text);
  if (text.length <= LONG) return [block];
  const unfold = element("button", "unfold", "Show all of it");
  unfold.type = "button";
  block.classList.add("clamped");
  unfold.addEventListener("click", () => {
    block.classList.remove("clamped");
    unfold.remove();
  });
  return [block, unfold];
}

function verdict(row) {
  const line = element("p", "verdict");
  line.append(element("span", row.correct ? "right" : "wrong", row.correct ? "✓ right" : "✗ " + (row.outcome || "wrong").replaceAll("_", " ")));
  const details = [
    row.correct || row.reference === null ? "" : `it is ${row.reference}`,
    row.outcome === "wrong" || row.reason === null ? "" : row.reason,
    row.reward === null ? "" : `reward ${+row.reward.toFixed(3)}`,
    row.advantage === null ? "" : `advantage ${row.advantage > 0 ? "+" : ""}${row.advantage.toFixed(2)}`,
    row.length === null ? "" : `${row.length} tokens`,
    row.finish_reason === "length" ? "cut off at the limit" : "",
    row.level ? `level ${row.level}` : "", row.language || "",
  ];
  for (const detail of details) if (detail) line.append(element("span", "", detail));
  return line;
}

// Thinking and answer apart where the completion has both; otherwise what the model wrote, as it wrote it.
function completion(row) {
  const parts = [element("p", "prompt", (row.prompt || "").trim())];
  if (row.thinking && row.answer) {
    parts.push(...foldable("thinking", row.thinking.trim()), element("div", "answer", row.answer.trim()));
  } else {
    parts.push(...foldable("raw", (row.completion || "").trim()));
  }
  return [...parts, verdict(row)];
}

// --- before and after -----------------------------------------------------------------------------------------------

function startPairs() {
  const bodies = document.querySelectorAll(".pair-body");
  const button = document.getElementById("next-pair");
  if (!bodies.length) return;
  let shown = -1;
  const next = () => {
    shown = (shown + 1) % run.pairs.length;
    run.pairs[shown].forEach((row, i) => bodies[i].replaceChildren(...completion(row)));
  };
  button.hidden = run.pairs.length < 2;
  button.addEventListener("click", next);
  if (run.pairs.length) next();
}

// --- the reader -----------------------------------------------------------------------------------------------------

function startReader() {
  const reader = document.getElementById("reader");
  if (!reader) return;
  const stages = Object.keys(run.completions);
  const state = { stage: stages[0], step: 0, shown: PAGE, level: "", language: "", outcome: "" };
  const slider = document.getElementById("step");
  const select = reader.querySelector("select");
  const more = document.getElementById("more");

  const steps = () => run.completions[state.stage];
  const values = (column) => [...new Set(steps().flatMap((s) => s.rows.map((row) => row[column])))].filter(Boolean).sort();
  const change = (changes) => {
    Object.assign(state, { shown: PAGE }, changes);
    render();
  };

  function chips(id, field, options) {
    const box = document.getElementById(id);
    const made = [["", "all"], ...options].map(([value, label]) => {
      const chip = element("button", "", label);
      chip.type = "button";
      chip.setAttribute("aria-pressed", String(state[field] === value));
      chip.addEventListener("click", () => change({ [field]: value }));
      return chip;
    });
    box.replaceChildren(...(options.length > 1 ? made : []));
  }

  function render() {
    const { step, rows } = steps()[state.step];
    slider.max = steps().length - 1;
    slider.value = state.step;
    const right = rows.filter((row) => row.correct).length;
    document.getElementById("step-name").textContent = `step ${step} · ${right} of ${rows.length} right`;
    chips("levels", "level", values("level").map((level) => [level, `level ${level}`]));
    chips("languages", "language", values("language").map((language) => [language, language]));
    chips("outcomes", "outcome", [["right", "✓ right"], ["wrong", "✗ not right"]]);
    const kept = rows.filter((row) =>
      (!state.level || row.level === state.level) && (!state.language || row.language === state.language) &&
      (!state.outcome || row.correct === (state.outcome === "right")));
    const cards = kept.slice(0, state.shown).map((row) => {
      const card = element("article", row.correct ? "is-right" : "");
      card.append(...completion(row));
      return card;
    });
    const nothing = element("p", "look", "No completion of this step fits the filters.");
    document.getElementById("completions").replaceChildren(...(cards.length ? cards : [nothing]));
    more.hidden = kept.length <= state.shown;
  }

  const go = (index) => change({ step: Math.min(Math.max(index, 0), steps().length - 1) });
  slider.addEventListener("input", () => go(Number(slider.value)));
  document.getElementById("step-back").addEventListener("click", () => go(state.step - 1));
  document.getElementById("step-on").addEventListener("click", () => go(state.step + 1));
  more.addEventListener("click", () => { state.shown += PAGE; render(); });
  select.append(...stages.map((stage) => element("option", "", stage)));
  select.addEventListener("change", () => change({ stage: select.value, step: 0, level: "", language: "", outcome: "" }));
  document.getElementById("reader-stage").hidden = stages.length < 2;
  render();
}

startPairs();
startReader();
drawCurves();
for (const section of document.querySelectorAll(".curves")) section.addEventListener("toggle", drawCurves);
dark.addEventListener("change", drawCurves);
