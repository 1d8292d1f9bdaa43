"""Plain numbers and words are read exactly, whatever they wear; operations are not numbers."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers.cleaning import clean
from thinkery.rewards.answers.numbers import MAX_ANSWER, parse_number
from thinkery.rewards.answers.words import parse_words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"), ("+42", "42"), ("-0", "0"), (" 42. ", "42"), ("42.0", "42"), (".5", "1/2"), ("-.5", "-1/2"),
        ("1,234,567", "1234567"), ("10,\\!080", "10080"), ("11,\\! 111,\\! 100", "11111100"), ("10{,}080", "10080"),
        ("$42$", "42"), ("$$42$$", "42"), ("\\(42\\)", "42"), ("\\[42\\]", "42"), ("**42**", "42"), ("$\\$42$", "42"),
        ("\\$32,\\!348", "32348"), ("$18.90", "189/10"), ("-$5", "-5"), ("$-5", "-5"), ("−5", "-5"), ("４２", "42"),
        ("1/2", "1/2"), ("-1/2", "-1/2"), ("\\frac12", "1/2"), ("\\frac{1}2", "1/2"), ("\\dfrac{17}{50}", "17/50"),
        ("-\\frac{35}{9}", "-35/9"), ("\\frac{-35}{9}", "-35/9"), ("\\frac 59", "5/9"), ("6/4", "3/2"),
        ("1\\frac{4}{5}", "9/5"), ("137 \\frac{1}{2}", "275/2"), ("2 1/2", "5/2"),
        ("1e3", "1000"), ("6.72 \\times 10^{-5}", "0.0000672"), ("3×10^4", "30000"), (".0000672", "0.0000672"),
        ("x=5", "5"), ("x = 5", "5"), ("f(x) = 5", "5"), ("a_{3} = 5", "5"),
        ("30^\\circ", "30"), ("30°", "30"), ("5.4 \\text{ cents}", "27/5"),
        ("15\\mbox{ cm}^2", "15"), ("52_8", "52"),
        ("18 dollars.", "18"), ("5个", "5"), ("50\\%", "50"), ("50％", "50"), ("\\frac{270}7\\text{ degrees}", "270/7"),
        ("The answer is 18.", "18"), ("So the final answer is: $18$.", "18"), ("答案是18。", "18"), ("答案：18", "18"),
        ("\\text{The answer is }18", "18"), ("1 000", "1000"), ("12 345 678", "12345678"), ("1\\,000", "1000"),
        ("1\u202f000", "1000"), ("1’000", "1000"), ("1'000'000", "1000000"), ("½", "1/2"), ("1½", "3/2"), ("¾", "3/4"),
        ("0.\\overline{3}", "1/3"), ("0.1\\overline{6}", "1/6"), ("2.\\bar{9}", "3"), ("3:4", "3/4"), ("5\u200b", "5"),
        ("5€", "5"), ("€5", "5"), ("£5.50", "11/2"), ("52₈", "52"), ("\\tfrac12", "1/2"), ("\\frac{1}{-2}", "-1/2"),
        ("\\mathbf{5}", "5"), ("5cm", "5"), ("60\\text{ miles per hour}", "60"), ("20°C", "20"), ("1.5e-3", "3/2000"),
        ("Die Antwort ist 18.", "18"), ("La réponse est : 18", "18"), ("La respuesta es 18", "18"), ("Ответ: 18", "18"),
    ],
)  # fmt: skip
def test_reads_numbers(text: str, value: str) -> None:
    number = parse_number(text)
    assert number is not None
    assert number.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "6*7", "6+7", "2^{10}", "84/12", "\\frac{84}{12}", "1/0", "\\sqrt{4}", "7\\pi", "7 pi", "2k", "5!",
        "5i", "1=5", "x=1=5", "1,23", "3, 5, 7", "5 or 6", "5 million", "5百", "1e9999", "(1,2)", "--5", "1/3.5",
        "12,345,6", "1.000.000", "3,5", "5 6", "1 00", "1 0000", "Ⅴ", "①", "٥", "5不", "18ではない", "5吗", "12:30",
        "5xy",
        "5\u202e6", "5 squared", "5e", "0.333...", "5 thousand", "5?", "5_", "1'00", "5x", "\\frac{x}{2}",
        "nan", "inf", "0x10", "1_000", "9" * 600,
    ],
)  # fmt: skip
def test_refuses_what_is_no_plain_number(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("5 cm", "5", True),
        ("5 cm", "5\\text{ centimeters}", True),
        ("5 cm", "5 kg", False),
        ("5 square inches", "5\\mbox{ inches}^2", True),
        ("5\\mbox{ cm}^2", "5\\mbox{ cm}^3", False),
        ("52_8", "52_{8}", True),
        ("52_8", "52_9", False),
        ("52", "52_8", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("50%", "5", False),
        ("50", "0.5", False),
        ("90^\\circ", "90 degrees", True),
        ("1/3", "0.333333", False),
        ("$5", "5 dollars", True),
        ("$5", "5 cents", False),
        ("$5", "€5", False),
        ("3:4", "6:8", True),
        ("3:4", "3/4", True),
        ("6:3", "2", False),
        ("20°C", "20", True),
    ],
)
def test_equality_respects_units(one: str, other: str, equal: bool) -> None:
    a, b = parse_number(one), parse_number(other)
    assert a is not None
    assert b is not None
    assert a.equals(b) == b.equals(a) == equal


@pytest.mark.parametrize(
    ("policy", "one", "other", "equal"),
    [
        (MathPolicy(units="required"), "5 cm", "5", False),
        (MathPolicy(units="required"), "5 cm", "5 centimeters", True),
        (MathPolicy(units="ignored"), "5 cm", "5 kg", True),
        (MathPolicy(units="ignored"), "52_8", "52_9", False),
        (MathPolicy(percent="literal"), "50%", "50", False),
        (MathPolicy(percent="literal"), "50%", "0.5", True),
        (MathPolicy(percent="literal"), "50%", "50 percent", True),
        (MathPolicy(), "50%", "5000", False),
    ],
)
def test_policies_decide_about_units_and_percents(policy: MathPolicy, one: str, other: str, equal: bool) -> None:
    a, b = parse_number(one), parse_number(other)
    assert a is not None
    assert b is not None
    assert a.equals(b, policy) == b.equals(a, policy) == equal


@given(st.integers(-(10**40), 10**40), st.sampled_from(["{}", "{:,}", "${}$", "{}.", " {} ", "{}.0", "\\text{{ }}{}"]))
def test_every_integer_survives_its_dress(value: int, dress: str) -> None:
    text = dress.format(value).replace("\\text{ }", "")
    assert parse_number(text) == parse_number(str(value))
    assert str(parse_number(text)) == str(value)


@pytest.mark.slow
@given(st.fractions())
def test_every_fraction_reads_as_itself(value: Fraction) -> None:
    rendered = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    number = parse_number(rendered)
    assert number is None if value.denominator == 1 else number is not None and number.value == value


PIECES = [
    "$",
    "\\",
    "{",
    "}",
    "\\frac",
    "\\text{",
    "1",
    "7",
    ",",
    ".",
    "/",
    "-",
    "e",
    "=",
    "x",
    " ",
    "%",
    "^",
    "答案是",
    "answer is ",
    "√",
    "√(",
    "５",
    "½",
    "²",
    ":",
    "'",
    "\\overline{",
    "\\,",
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=60).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_string_is_read(text: str) -> None:
    parse_number(text)
    parse_words(text)
    assert len(clean(text)) <= 16 * len(text) + 16


def test_reading_is_linear_in_hostile_text() -> None:
    for piece in ("1,", "1 000 ", "$", "\\text{", "(", "√(", "9", "answer is ", "\\,", "**", "a-", "²", "=", "the "):
        assert parse_number(piece * 100_000) is parse_words(piece * 100_000) is None
        text = (piece * MAX_ANSWER)[:MAX_ANSWER]
        clean(text)
        parse_number(text)
        parse_words(text)
