"""The template: rendering as transformers renders, reading whatever a model may write."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from thinkery.models.loading import resolve_model
from thinkery.models.template import TAGS, TEMPLATES, Parsed, Template
from thinkery.types import UserError

ZERO, CHAT = TEMPLATES["r1-zero"], TEMPLATES["chat-think"]
PREFILLED = Template("prefilled", ZERO.chat_template, prefilled_think=True)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_rendering_agrees_with_transformers(template: Template) -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("thinkery://mini-base"))
    messages = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "算"},
    ]
    expected = tokenizer.apply_chat_template(
        messages, chat_template=template.chat_template, add_generation_prompt=True, tokenize=False
    )
    assert template.render(messages) == expected
    assert template.render("1+1?") == template.render(messages[:1])


@pytest.mark.parametrize("template", [*TEMPLATES.values(), PREFILLED], ids=[*TEMPLATES, "prefilled"])
@pytest.mark.parametrize(
    ("thinking", "answer"), [("1+1=2.\n\nWait, yes.", "It is 2."), ("", "你好！"), (" so ", "a < b")]
)
def test_what_is_written_is_read_back(template: Template, thinking: str, answer: str) -> None:
    well_formed = bool(thinking) or template.optional_thinking
    assert template.parse(template.write(thinking, answer)) == Parsed(thinking, answer, well_formed)


def test_the_r1_zero_template_asks_for_structure_only() -> None:
    text = ZERO.render("What is 1+1?")
    assert all(tag in text for tag in TAGS)
    assert text.endswith("User: What is 1+1?\nAssistant:")
    assert not any(word in text.lower() for word in ("step by step", "verify", "reflect", "careful"))


@pytest.mark.parametrize(
    ("completion", "parsed"),
    [
        ("<think>a</think><answer>2</answer>", Parsed("a", "2", True)),
        (" <think> a </think>\n<answer> 2 </answer>\n", Parsed(" a ", "2", True)),
        ("a</think><answer>2</answer>", Parsed("a", "2", False)),
        ("<think>a</think>", Parsed("a", None, False)),
        ("<think>a</think>2", Parsed("a", None, False)),
        ("<think>a<answer>2</answer>", Parsed("a<answer>2</answer>", None, False)),
        ("<think></think><answer>2</answer>", Parsed("", "2", False)),
        ("<think>a</think><answer></answer>", Parsed("a", None, False)),
        ("<think>a</think><answer>2</answer> so", Parsed("a", "2", False)),
        ("well <think>a</think><answer>2</answer>", Parsed("a", "2", False)),
        ("<think>a</think><answer>2</answer><answer>3</answer>", Parsed("a", "2", False)),
        ("<think>a<think>b</think><answer>2</answer>", Parsed("a<think>b", "2", False)),
        ("The answer is 2.", Parsed(None, None, False)),
        ("", Parsed(None, None, False)),
    ],
)
def test_reading_with_an_answer_tag(completion: str, parsed: Parsed) -> None:
    assert ZERO.parse(completion) == parsed


@pytest.mark.parametrize("completion", ["a</think><answer>2</answer>", "<think>a</think><answer>2</answer>"])
def test_a_prefilled_think_may_be_repeated_or_not(completion: str) -> None:
    assert PREFILLED.parse(completion) == Parsed("a", "2", True)


@pytest.mark.parametrize(
    ("completion", "parsed"),
    [
        ("a\n</think>\nThe sum is 2.", Parsed("a\n", "The sum is 2.", True)),
        ("a\n</think>\n", Parsed("a\n", None, False)),
        ("a", Parsed("a", None, False)),
        ("a</think>b</think>c", Parsed("a", "b</think>c", False)),
        ("a</think><answer>b</answer>", Parsed("a", "<answer>b</answer>", False)),
    ],
)
def test_reading_a_summary(completion: str, parsed: Parsed) -> None:
    assert CHAT.parse(completion) == parsed


@given(st.lists(st.sampled_from([*TAGS, "x", " ", "\n", "2"]), max_size=12).map("".join))
def test_any_text_is_read_and_well_formed_means_well_formed(text: str) -> None:
    for template in (*TEMPLATES.values(), PREFILLED):
        parsed = template.parse(text)
        if parsed.well_formed:
            assert parsed.thinking is not None
            assert parsed.thinking.strip() or template.optional_thinking
            assert parsed.answer
            assert text.count("</think>") == 1


def test_a_template_is_kept_with_a_checkpoint(tmp_path: Path) -> None:
    CHAT.save(tmp_path)
    assert Template.load(tmp_path) == CHAT
    assert [path.name for path in tmp_path.iterdir()] == ["thinkery_template.json"]


def test_a_folder_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a template in the recipe, one of r1-zero"):
        Template.load(tmp_path)


def test_a_template_travels_to_other_processes_after_it_was_used() -> None:
    template = Template("own", ZERO.chat_template)
    said = template.render("1+1?")
    copy = pickle.loads(pickle.dumps(template))
    assert copy == template
    assert copy.render("1+1?") == said


ENDLESS = {
    "loops in loops": "{% for a in messages %}{% for b in messages %}x{% endfor %}{% endfor %}",
    "a loop over its own list": "{% for a in [1, 2, 3] %}x{% endfor %}",
    "a range": "{% for a in range(99999) %}x{% endfor %}",
    "a recursive loop": "{% for a in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a text times a number": "{{ 'x' * 99999999999 }}",
    "a power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "a filter that fills": "{{ 'x' | center(99999999999) }}",
    "another file": "{% include '/etc/passwd' %}",
    "a way to the interpreter": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_checkpoints_template_that_could_go_on_for_ever_is_refused(what: str, tmp_path: Path) -> None:
    replace(CHAT, chat_template=ENDLESS[what]).save(tmp_path)
    with pytest.raises(UserError, match=r"thinkery_template.json is no template: .*name one in the recipe: r1-zero"):
        Template.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"name": 1}',
                                  '{"name": "a", "chat_template": "", "stop_strings": [1]}',
                                  '{"name": "a", "chat_template": "", "stop_strings": [], "more": 1}',
                                  '{"name": "a", "chat_template": "{% if %}", "stop_strings": []}'])  # fmt: skip
def test_what_is_no_template_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "thinkery_template.json").write_text(text)
    with pytest.raises(UserError, match=r"thinkery_template.json is (no template|cut short or damaged)"):
        Template.load(tmp_path)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_of_ours_is_read_back(name: str, tmp_path: Path) -> None:
    TEMPLATES[name].save(tmp_path)
    assert Template.load(tmp_path) == TEMPLATES[name]
