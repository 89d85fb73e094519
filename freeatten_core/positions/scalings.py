"""The names of what scales a rotary embedding at inference."""

from typing import Literal

__all__ = ["Ramp", "Scaling"]

Scaling = Literal["pi", "ntk", "dynamic-ntk", "clex-start", "yarn"]
Ramp = Literal["turns", "dims"]
"""Over what YaRN goes from left to interpolated: turns as in the paper, or numbers of dimensions as
in the transformers library."""
