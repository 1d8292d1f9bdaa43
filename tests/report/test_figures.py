"""Figures as people read them."""

import pytest

from thinkery.report.figures import format_seconds, format_value


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.7314, "share", "73.1%"),
        (1234.4, "count", "1,234"),
        (99_400.0, "rate", "99.4k"),
        (0.0, "figure", "0"),
        (1.5e-7, "figure", "1.5e-07"),
        (float("nan"), "share", "nan"),
    ],
)
def test_values(value: float, style: str, text: str) -> None:
    assert format_value(value, style) == text


def test_seconds() -> None:
    assert (format_seconds(59.6), format_seconds(245), format_seconds(7445)) == ("1:00", "4:05", "2:04:05")
