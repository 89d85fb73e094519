"""What an attention computes: four stages, each a visible choice, or a function of one's own.

    score -> positivity -> normalise -> sharpen

Names alone; `ops.definitions.staged` holds the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from freeatten_core.basics.checks import check_whole
from freeatten_core.basics.errors import UsageError

__all__ = [
    "CHOICES",
    "COSINE_SCALE",
    "FUNCTION",
    "PLAIN_STAGES",
    "P_DEFAULT",
    "P_MAX",
    "P_MIN",
    "SHARPENED_STAGES",
    "Computed",
    "Normalise",
    "OwnFunctionName",
    "Positivity",
    "Score",
    "Stages",
    "stages_of",
]

Score = Literal["dot", "length-cosine", "dim-cosine", "count-cosine", "cosine", "dot-log-n"]
"""`dot`: q·k/√D. `length-cosine`: log D · log N · cos(q, k), and without one of its two factors
`dim-cosine`: log D · cos(q, k), `count-cosine`: log N · cos(q, k); `cosine`: a number times
cos(q, k). `dot-log-n`: q·k/√D − log N."""
Positivity = Literal["exp", "softplus", "sigmoid", "relu", "softpick", "entmax15"]
"""`softpick`: max(0, e^s − 1). `entmax15`: max(0, s/2 − τ)², τ the row's, so that the row's sum
is 1."""
Normalise = Literal["l1", "off-by-one", "absolute", "count", "none", "stick-breaking"]
"""`l1`: divide by the row sum; `off-by-one`: by 1 more; `absolute`: by Σ |e^s − 1|, of softpick.
`count`: divide by N, the number of visible keys. `stick-breaking`: times what the nearer keys
leave; the row's own key takes the rest."""

P_MIN, P_MAX, P_DEFAULT = 1, 64, 15
LARGEST_SCALE = 1e4


@dataclass(frozen=True)
class Stages:
    """The four stages of an attention; what kernels compute.

    Raises:
        UsageError: a stage that does not exist, `p` out of range, sharpening without `l1`, or
            stages that cannot go together.
    """

    score: Score = "dot"
    positivity: Positivity = "exp"
    normalise: Normalise = "l1"
    sharpen: int | None = None
    scale: float | None = None
    """What cos(q, k) is multiplied with, of the score `cosine` alone."""

    def __post_init__(self) -> None:
        for stage, legal in CHOICES.items():
            value = getattr(self, stage)
            if value not in legal:
                raise UsageError(f"{stage} is {value!r}; it can be {', '.join(legal)}")
        self._check_scale()
        for (stage, chosen), (other, needed, why) in TOGETHER.items():
            found = getattr(self, other)
            if getattr(self, stage) == chosen and found != needed:
                raise UsageError(f"{chosen} needs {other}={needed!r}, {why}; {other} is {found!r}")
        if self.sharpen is None:
            return
        object.__setattr__(self, "sharpen", check_whole("p", self.sharpen, P_MIN, P_MAX))
        if self.normalise != "l1":
            raise UsageError(
                f"sharpening needs normalise='l1', because it compares N·a with 1; "
                f"normalise is {self.normalise!r}"
            )
        if self.positivity == "entmax15":
            raise UsageError(
                "entmax15 leaves out keys by a threshold of its own; p sharpens other positivities"
            )

    def _check_scale(self) -> None:
        if self.score != "cosine":
            if self.scale is not None:
                raise UsageError(
                    f"s is {self.scale!r}; only the score 'cosine' has one, and score is "
                    f"{self.score!r}"
                )
            return
        legal = f"it must be a number above 0, at most {LARGEST_SCALE:g}"
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float):
            raise UsageError(f"s is {self.scale!r}; {legal}, what cos(q, k) is multiplied with")
        if not 0 < self.scale <= LARGEST_SCALE:
            raise UsageError(f"s is {self.scale:g}; {legal}")

    @property
    def cosine(self) -> bool:
        """Whether scores are cosines, which do not depend on the query's or key's length."""
        return self.score.endswith("cosine")

    @property
    def sums_to_one(self) -> bool:
        """Whether rows sum to 1, so that a row divided by its sum is the row."""
        return self.normalise in ("l1", "stick-breaking")

    @property
    def divides_by_sum(self) -> bool:
        """Whether rows are divided by the sum of their positive scores, or by 1 more."""
        return self.normalise in ("l1", "off-by-one")

    @property
    def can_sharpen(self) -> bool:
        """Whether its rows can be re-weighted."""
        return self.normalise == "l1" and self.positivity != "entmax15"

    @property
    def can_forget(self) -> bool:
        """Whether a gate can lower what far keys have: rows are divided by their own sum alone."""
        return self.can_sharpen

    @property
    def whole_rows(self) -> bool:
        """Whether a weight is more than a key's positive score divided by a number of the row."""
        return self.normalise in ("stick-breaking", "absolute") or self.positivity == "entmax15"

    @property
    def has_zeros(self) -> bool:
        """Whether keys that a row sees can have a weight of exactly 0, without sharpening."""
        return self.positivity in ("relu", "softpick", "entmax15")

    @property
    def needs_order(self) -> bool:
        """Whether a weight depends on which keys lie between it and the row's own."""
        return self.normalise == "stick-breaking"

    def __str__(self) -> str:
        """The canonical name; it always shows `p`."""
        power = f":p={self.sharpen}" if self.sharpen is not None else ""
        if self.scale is not None:
            power = f":s={self.scale:.10g}{power}"
        plain = replace(self, sharpen=None, scale=COSINE_SCALE if self.scale else None)
        names = SHARPENED_STAGES if self.sharpen is not None else PLAIN_STAGES
        for name, stages in names.items():
            if stages == plain:
                return name + power
        return (
            f"stages:score={self.score}:positivity={self.positivity}"
            f":normalise={self.normalise}{power}"
        )


@dataclass(frozen=True)
class OwnFunctionName:
    """The name of a Python function of one's own, which takes the place of all stages.

    Raises:
        UsageError: something else than `file.py:function`.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not FUNCTION.fullmatch(self.name):
            raise UsageError(
                f"function is {self.name!r}; write the file and the function in it, as in "
                "my_file.py:my_attention"
            )

    def __str__(self) -> str:
        return self.name


Computed = Stages | OwnFunctionName
"""What an attention computes."""


def stages_of(computed: Computed) -> Stages:
    """What is computed, where that is stages.

    Raises:
        UsageError: it is a function of one's own.
    """
    if isinstance(computed, OwnFunctionName):
        raise UsageError(
            f"{computed} is one's own function, which has no stages; this is for the named "
            "variants alone"
        )
    return computed


FUNCTION = re.compile(r".+\.py:[A-Za-z_]\w*", re.DOTALL)
"""A path can hold any character, those of the grammar too."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "score": get_args(Score),
    "positivity": get_args(Positivity),
    "normalise": get_args(Normalise),
}

TOGETHER: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("normalise", "stick-breaking"): (
        "positivity",
        "sigmoid",
        "a share from 0 to 1 of what is left",
    ),
    ("normalise", "off-by-one"): ("positivity", "exp", "whose value is 1 for the score 0"),
    ("normalise", "absolute"): ("positivity", "softpick", "whose e^s − 1 it takes"),
    ("positivity", "softpick"): ("normalise", "absolute", "as its source defines it"),
    ("positivity", "entmax15"): ("normalise", "l1", "which its threshold makes true"),
}
"""Stages that go with one other alone: (stage, value) to the other's stage, value and why."""

COSINE_SCALE = 128.0
"""Of arXiv 2501.08570, where no other is asked for."""

PLAIN_STAGES: Mapping[str, Stages] = {
    "softmax": Stages(),
    "softmax-ls": Stages(score="length-cosine"),
    "lssa": Stages(score="length-cosine", positivity="softplus"),
    "sigmoid": Stages(score="dot-log-n", positivity="sigmoid", normalise="none"),
    "relu": Stages(positivity="relu", normalise="count"),
    "softplus": Stages(positivity="softplus"),
    "lssa-count": Stages(score="length-cosine", positivity="softplus", normalise="count"),
    "stick-breaking": Stages(positivity="sigmoid", normalise="stick-breaking"),
    "cosine": Stages(score="cosine", scale=COSINE_SCALE),
    "off-by-one": Stages(normalise="off-by-one"),
    "softpick": Stages(positivity="softpick", normalise="absolute"),
    "entmax15": Stages(positivity="entmax15"),
}
"""Without sharpening, by name."""

SHARPENED_STAGES: Mapping[str, Stages] = {
    "lssar": PLAIN_STAGES["lssa"],
    "softmax-r": PLAIN_STAGES["softmax"],
    "softmax-ls-r": PLAIN_STAGES["softmax-ls"],
    "softplus-r": PLAIN_STAGES["softplus"],
    "sigmoid-r": replace(PLAIN_STAGES["sigmoid"], normalise="l1"),
}
"""What each sharpened name sharpens."""
