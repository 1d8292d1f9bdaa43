r"""An answer without its dress: one spelling for what people and models write in many.

Full-width forms, unicode fractions, roots and superscripts become LaTeX; delimiters, spacing commands, zero-width
characters, a lead-in phrase and a final dot go. Every pattern is linear in the text, and answers are short. Left out:
what an answer means (``numbers``, ``symbolic``).
"""

from __future__ import annotations

import re

# Brackets of decoration that change no value.
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_CHARACTERS: dict[int, str | None] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **{ord(character): rf"\frac{{{top}}}{{{bottom}}}" for character, (top, bottom) in _VULGAR.items()},
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad")),  # zero width: the reader never saw them
    **{
        ord(old): new
        for old, new in {
            "\u3000": " ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2013": "-", "\u2011": "-",
            "。": ".", "、": ",", "’": "'", "⁄": "/", "∕": "/", "×": r"\times ", "÷": "/", "·": r"\cdot ",
            "⋅": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
            "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "∈": r"\in ", "θ": r"\theta ", "α": r"\alpha ",
            "β": r"\beta ", "∛": r"\sqrt[3]", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "⟨": r"\langle ",
            "⟩": r"\rangle ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "Γ": r"\Gamma ", "↑": r"\uparrow ",
        }.items()
    },
}  # fmt: skip
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(-?\d+|[A-Za-z]))|\\sqrt\[3\]\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]))")

_GROUPING = re.compile(
    r",\\!\s*|\{,\}\s*|(?<=[0-9])\\[,;:](?=[0-9]{3}(?![0-9]))"
)  # TeX's thousands: 10,\!080, 10{,}080
_GROUPED = re.compile(r"(?<=[0-9])(?:,\\!\s*|\{,\}\s*)(?=[0-9]{3}(?![0-9]))")
_SILENT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|large|Large|LARGE|huge|Huge|small|normalsize|bigl?|bigr|Bigl?|Bigr|limits|nolimits)(?![a-zA-Z])|(?<!\\)\\!"
)
_SPACING = re.compile(r"(?<!\\)\\(?:[,;:]|\s|quad(?![a-zA-Z])|qquad(?![a-zA-Z]))|~")
_STYLES = (
    r"\\(?:text|textbf|textit|textrm|textnormal|texttt|mbox|mathrm|mathbf|mathit|mathsf|underline|"
    r"emph|boldsymbol|bm|hbox)"
)
_STYLED = re.compile(_STYLES + r"\s*\{([^{}]*)\}")
_STYLED_WHOLE = re.compile(_STYLES + r"\s*(?=\{)|(?=\{)")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|underline)\s*\{([^{}]*)\}")
_SPECIAL = re.compile(r"(?:<\|[A-Za-z_]{1,30}\|>|</s>)\s*$")  # a token that ends a model's turn
_FRACTION = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
# What introduces an answer: in the languages in which people train, and inside \text{} too.
LEAD_IN = (
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\b\s*:?|:|=)"
    r"|(?:所以|因此)?[,，]?\s*(?:最终|最后|正确)?(?:的)?(?:答案|结果)\s*(?:是|为|:|：)+"
    r"|(?:最終的?な?)?(?:答え|正解|答)\s*(?:は|:|：)+"
    r"|(?:donc,?\s+)?(?:la\s+)?réponse(?:\s+finale)?\s*(?:est\b\s*:?|:)"
    r"|(?:die\s+)?(?:endgültige\s+|richtige\s+)?antwort\s*(?:ist\b\s*:?|lautet\b\s*:?|:)"
    r"|(?:la\s+)?respuesta(?:\s+final|\s+correcta)?\s*(?:es\b\s*:?|:)"
    r"|(?:окончательный\s+|правильный\s+)?ответ\s*(?::|—|–|-|равен\b|есть\b)"
)
_LEAD_IN = re.compile(rf"(?:\\text\s*\{{)?\s*(?:{LEAD_IN})\s*\}}?", re.IGNORECASE)
_UNDRESSED = "0123456789+-.(["
_NAMED_VALUE = (
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:(?:final|total|correct|required|desired|minimum|maximum|exact|value|number)\s+){0,2}"
    r"(?:answer|result|value|total|sum|number|area|volume|probability|perimeter|length|solution|it|x|y)"
)
_TEXT_LEAD_IN = re.compile(rf"\\text\s*\{{\s*{_NAMED_VALUE}\s+(?:is|equals|are)\s*:?\s*\}}\s*(?=.)", re.IGNORECASE)


def clean(text: str) -> str:
    """An answer without its dress."""
    if not text.isascii():
        text = _from_unicode(text)
    if text.endswith(">"):
        text = _SPECIAL.sub("", text)
    if "\\" in text or "~" in text or "{" in text:
        text = text.replace("{:}", ":").replace("\\varnothing", "\\emptyset")
        text = _BOLD.sub(r"\1", _FRACTION.sub(r"\\frac", text))
        text = _SPACING.sub(" ", _SILENT.sub("", _GROUPING.sub(",", _GROUPED.sub("", text))))
    if "√" in text or r"\sqrt[3]" in text:
        text = _ROOT.sub(_root, text)
    previous = None
    while text != previous:  # dress comes in layers: **$\text{The answer is }5.$**
        previous = text
        text = text.strip()
        if text.endswith("\\") and not text.endswith("\\\\"):
            text = text[:-1].rstrip()
        if not text.endswith(".."):  # 0.333... is not 0.333
            text = text.removesuffix(".").rstrip()
        if text[:1] in _UNDRESSED:  # most answers; no lead-in and no delimiter begins so
            continue
        lead_in = _LEAD_IN.match(text) or _TEXT_LEAD_IN.match(text)
        if lead_in:
            text = text[lead_in.end() :]
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : -len(closing)]
            enclosed = inner and text.startswith(opening) and text.endswith(closing)
            if enclosed and opening not in inner.replace(r"\$", ""):  # not $1$ and $2$; but $\$5$
                text = inner
        text = _undressed(text)
    return text


def _undressed(text: str) -> str:
    r"""``\text{33}`` and ``{33}`` without the braces that hold all of it."""
    if not text.endswith("}") or not (opened := _STYLED_WHOLE.match(text)):
        return text
    depth = 0
    for at in range(opened.end(), len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[opened.end() + 1 : -1] if at == len(text) - 1 else text
    return text


def unstyled(text: str) -> str:
    r"""A text with the words of ``\text{}`` and its like as they are."""
    return _STYLED.sub(r"\1", text) if "\\" in text else text


def _from_unicode(text: str) -> str:
    text = _RAISED.sub(lambda match: "^{" + "".join(_SUPERSCRIPTS[c] for c in match[0]) + "}", text)
    text = _LOWERED.sub(lambda match: "_{" + "".join(_SUBSCRIPTS[c] for c in match[0]) + "}", text)
    return text.translate(_CHARACTERS)


def _root(match: re.Match[str]) -> str:
    if match[0].startswith("√"):
        return rf"\sqrt{{{match[1] or match[2] or ''}}}"
    return rf"\sqrt[3]{{{match[3] or match[4] or ''}}}"
