"""Plain text states an answer only if it holds a single one, without doubt."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.answers.statements import is_prose, stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"), (" $42$ ", "42"), ("x^2+1", "x^2+1"), ("\\frac{1}{2}.", "\\frac{1}{2}"), ("1 000", "1 000"),
        ("The answer is 18.", "18"), ("the final answer is: **18**", "18"), ("Final Answer: 18", "18"),
        ("**Answer:** 18", "18"), ("**Final Answer**\n18", "18"), ("The answer is:\n\n$$18$$", "18"),
        ("#### 18", "18"), ("First 3, then 6.\n#### 1,234", "1,234"), ("So the answer is \\(5\\)", "5"),
        ("\\text{The answer is }x", "x"), ("The answer is $\\frac{1}{2}$.", "\\frac{1}{2}"),
        ("It is $x^2+1$.", "x^2+1"),
        ("The answer is east.", "east"), ("Answer: B", "B"), ("The answer is 3.5. ", "3.5"),
        ("The answer is $11,\\! 111,\\! 100$.", "11111100"),
        ("答案是18。", "18"), ("所以答案是：18", "18"), ("她每天赚18美元。", "18 美元"), ("一共18个", "18 个"),
        ("La réponse est 18.", "18"), ("La réponse finale est : 18", "18"),
        ("Elle gagne 18 euros par jour.", "18 euros"),
        ("Die Antwort ist 18.", "18"), ("Die endgültige Antwort lautet: 18", "18"),
        ("Sie verdient 18 Euro am Tag.", "18 Euro"),
        ("La respuesta es 18.", "18"), ("Ella gana 18 pesos al día.", "18 pesos"),
        ("答えは18です。", "18"), ("Ответ: 18.", "18"), ("Она зарабатывает 18 рублей в день.", "18 рублей"),
        ("She makes $18 every day at the farmers' market.", "$18"),
        ("The total is **1,234** dollars.", "1,234 dollars"),
        ("The point is -5 meters away", "-5 meters"), ("It grew by 50%.", "50%"),
        ("It costs 5.4 cents each.", "5.4 cents"),
        ("The answer is 17. I hope it is correct.", "17"), ("The answer is 17.<|im_end|>", "17"),
        ("It takes 17 hours.", "17 hours"),
        ("So the probability is $\\frac{3}{4}$.", "\\frac{3}{4}"), ("Thus, the total number of ways is 17.", "17"),
        ("The sum of the digits is 17.", "17"), ("There are 17 ways.", "17 ways"), ("2mgh", "2mgh"),
        ("The first answer is 5. The answer is 6.", "6"), ("The answer is 18. It follows from the price.", "18"),
    ],
)  # fmt: skip
def test_reads_what_is_stated(text: str, answer: str) -> None:
    assert stated(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "", "18 or 19", "It is 18 or 19.", "The answer is 18 or 19.", "The answer is not 18.", "The answer isn't 18",
        "It is neither 18.", "I am not sure, 18", "5, maybe 6", "Is it 18?", "The answer is 18. Wait, actually 19.",
        "The answer is 18. Or perhaps less.", "She has 18 eggs and 3 cats.", "He finished 2nd.", "about 18 dollars",
        "She has 18 million dollars.", "half of 18 eggs", "minus 18 degrees outside", "from 5-3 eggs", "x2 is the name",
        "It has 1,23 eggs", "The answer is 5. The answer is not 6.", "不是18", "大约18个", "18或19", "ce n'est pas 18",
        "18 ou 19 oeufs", "es ist nicht 18", "18 oder 19 Eier", "no es 18 huevos", "18 o 19 huevos", "это не 18 яиц",
        "18 или 19 яиц", "18ではない", "Between 18 and twenty", "18\n19",
        "It is under 18.", "The answer is far from 18.", "I doubt that it is 18.", "It cannot be 18.", "Forse 18.",
        "A resposta não é 18.", "Het antwoord is geen 18.", "Cevap 18 değil.", "उत्तर 18 नहीं है।", "정답은 18이 아니다",
        "A válasz nem 18.", "Svaret är inte 18.", "The answer exceeds 18.", "It is false that it equals 18.",
        "It is anything but 18.", "It is the opposite of 18.", "The answer is a multiple of 18.",
        "This solves problem 18.",
        "The answer is the reciprocal of 18.", "The answer is 18. The correct value should be 19.",
        "The answer is 18. No, 19.",
        "The answer is 18?", "The answer is 18, which is wrong.", "18 is wrong.", "The wrong answer is 18.",
        "Nobody has 18 eggs.", "If x=2, the answer is 18.", "I doubt that the answer is 18.", "See equation 18.",
        "It is not true that, in the end, the answer is 18.", "The answer is 18. Forget that.", "One more than 18.",
        "Guess: 18 eggs", "18 eggs, 18 hens", "word " * 80 + "18",
    ],
)  # fmt: skip
def test_states_nothing(text: str) -> None:
    assert stated(text) is None


@pytest.mark.parametrize(("text", "prose"), [("\\sin x + \\log y", False), ("-(q-p)", False), ("2ab", False),
    ("sqrt(2)", False), ("\\begin{pmatrix} 1 \\end{pmatrix}", False), ("x or y", True), ("five", True),
    ("2mgh", False), ("\\frac{abc}{a+b}", False), ("near 7", True), ("18 oder 19", True), ("五", True),
    ("\\text{five}", True)])  # fmt: skip
def test_tells_prose_from_expressions(text: str, prose: bool) -> None:
    assert is_prose(text) == prose


def test_statements_are_read_in_linear_time() -> None:
    for piece in ("answer is ", "1", "$", "$1 ", "9,999", "#### ", "the ", "\\(", "1/", "**", "。", "a-"):
        stated(piece * 100_000)


PIECES = ["The answer is ", "答案是", "Ответ: ", "18", " 19", " or ", " not ", "$", "####", "\n", ". ",
"\\frac{1}{2}", "**",
          "?", "%", "{", "\\text{"]  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=30).map("".join))
@settings(deadline=None, max_examples=400)
def test_any_text_is_read(text: str) -> None:
    answer = stated(text)
    assert answer is None or answer.strip()
