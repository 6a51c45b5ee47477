"""The colours of kafkahub.css can be read by everybody, in both schemes."""

import re
from pathlib import Path

import pytest
from django.conf import settings

SHEET = Path(settings.BASE_DIR, "kafkahub", "static", "kafkahub.css").read_text(encoding="utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--hub-([a-z-]+): light-dark\(#([0-9A-F]{6}), #([0-9A-F]{6})\)", SHEET
    )
}
TINT = int(re.findall(r"--hub-tint: (\d+)%", SHEET)[0]) / 100
Colour = tuple[float, float, float]


def colour(name: str, scheme: int) -> Colour:
    digits = TOKENS[name][scheme]
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def mixed(front: Colour, back: Colour, share: float) -> Colour:
    red, green, blue = (f * share + b * (1 - share) for f, b in zip(front, back, strict=True))
    return red, green, blue


def luminance(of: Colour) -> float:
    """Return relative luminance; WCAG 2.2, "relative luminance"."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in of
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "muted", "accent", "ok", "warn", "bad", "info"])
@pytest.mark.parametrize("ground", ["bg", "surface"])
def test_text_and_states_stand_out(name: str, ground: str, scheme: int) -> None:
    assert contrast(colour(name, scheme), colour(ground, scheme)) >= 5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ok", "warn", "bad", "info", "muted"])
def test_a_badge_can_be_read_on_its_tint(name: str, scheme: int) -> None:
    tint = mixed(colour(name, scheme), colour("bg", scheme), TINT)

    assert contrast(colour(name, scheme), tint) >= 5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["bg", "surface"])
def test_borders_of_controls_can_be_seen(ground: str, scheme: int) -> None:
    assert contrast(colour("control", scheme), colour(ground, scheme)) >= 3


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("button", ["accent", "bad"])
def test_buttons_can_be_read(button: str, scheme: int) -> None:
    assert contrast(colour("on-accent", scheme), colour(button, scheme)) >= 5
