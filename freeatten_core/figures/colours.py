"""Shades of a colour that stay legible on white and on black (OKLCH, of B. Ottosson's OKLab)."""

from __future__ import annotations

import math

__all__ = ["DARK", "LIGHT", "TEXT_CONTRAST", "contrast", "legible", "shade"]

DARK, LIGHT = 0.53, 0.66
"""Lightness between which a colour has a contrast of 3 with both papers: enough for a line."""
TEXT_CONTRAST = 4.5
"""Of text with its paper at least, by WCAG 2 (AA)."""


def shade(color: str, turn: float, lightness: float) -> str:
    """`color` with its hue turned by so many degrees, at a lightness from DARK to LIGHT.

    Args:
        color: `#rrggbb`; a grey gives greys.
    """
    _, a, b = _oklab(color)
    chroma, hue = math.hypot(a, b), math.atan2(b, a) + math.radians(turn)
    while True:
        channels = _srgb(lightness, chroma * math.cos(hue), chroma * math.sin(hue))
        if all(-1e-3 <= channel <= 1.001 for channel in channels) or chroma < 1e-3:
            break
        chroma *= 0.95  # the screen has no such colour; take a paler one
    return "#" + "".join(f"{round(255 * min(max(c, 0.0), 1.0)):02x}" for c in channels)


def contrast(color: str, paper: str) -> float:
    """Of two colours `#rrggbb` by WCAG 2, from 1 to 21."""
    low, high = sorted(map(_luminance, (color, paper)))
    return (high + 0.05) / (low + 0.05)


def legible(color: str, paper: str) -> str:
    """`color` for text on a paper: itself, or as much darker or lighter as its contrast takes."""
    step = 0.01 if _luminance(paper) < _luminance(color) else -0.01
    found, lightness = color, _oklab(color)[0]
    while contrast(found, paper) < TEXT_CONTRAST and 0 < lightness < 1:
        lightness += step
        found = shade(color, 0, lightness)
    return found


def _luminance(color: str) -> float:
    red, green, blue = (_linear(byte / 255) for byte in bytes.fromhex(color.removeprefix("#")))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _oklab(color: str) -> tuple[float, float, float]:
    red, green, blue = (_linear(byte / 255) for byte in bytes.fromhex(color.removeprefix("#")))
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _srgb(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
    return _companded(red), _companded(green), _companded(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _companded(value: float) -> float:
    if value <= 0.0031308:
        return 12.92 * value
    return float(1.055 * value ** (1 / 2.4) - 0.055)
