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

Score = Literal["dot", "length-cosine", "dim-cosine", "count-cosine", "dot-log-n"]
"""`dot`: q·k/√D. `length-cosine`: log D · log N · cos(q, k), and without one of its two factors
`dim-cosine`: log D · cos(q, k), `count-cosine`: log N · cos(q, k). `dot-log-n`: q·k/√D − log N."""
Positivity = Literal["exp", "softplus", "sigmoid", "relu"]
Normalise = Literal["l1", "count", "none", "stick-breaking"]
"""`l1`: divide by the row sum. `count`: divide by N, the number of visible keys. `stick-breaking`:
times what the nearer keys leave; the row's own key takes the rest."""

P_MIN, P_MAX, P_DEFAULT = 1, 64, 15


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

    def __post_init__(self) -> None:
        for stage, legal in CHOICES.items():
            value = getattr(self, stage)
            if value not in legal:
                raise UsageError(f"{stage} is {value!r}; it can be {', '.join(legal)}")
        if self.normalise == "stick-breaking" and self.positivity != "sigmoid":
            raise UsageError(
                "stick-breaking needs positivity='sigmoid', a share from 0 to 1 of what is left; "
                f"positivity is {self.positivity!r}"
            )
        if self.sharpen is None:
            return
        object.__setattr__(self, "sharpen", check_whole("p", self.sharpen, P_MIN, P_MAX))
        if not self.can_sharpen:
            raise UsageError(
                f"sharpening needs normalise='l1', because it compares N·a with 1; "
                f"normalise is {self.normalise!r}"
            )

    @property
    def cosine(self) -> bool:
        """Whether scores are cosines, which do not depend on the query's or key's length."""
        return self.score.endswith("cosine")

    @property
    def sums_to_one(self) -> bool:
        """Whether rows sum to 1, so that a row divided by its sum is the row."""
        return self.normalise in ("l1", "stick-breaking")

    @property
    def can_sharpen(self) -> bool:
        """Whether its rows can be re-weighted."""
        return self.normalise == "l1"

    @property
    def needs_order(self) -> bool:
        """Whether a weight depends on which keys lie between it and the row's own."""
        return self.normalise == "stick-breaking"

    def __str__(self) -> str:
        """The canonical name; it always shows `p`."""
        power = f":p={self.sharpen}" if self.sharpen is not None else ""
        plain = replace(self, sharpen=None)
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

PLAIN_STAGES: Mapping[str, Stages] = {
    "softmax": Stages(),
    "softmax-ls": Stages(score="length-cosine"),
    "lssa": Stages(score="length-cosine", positivity="softplus"),
    "sigmoid": Stages(score="dot-log-n", positivity="sigmoid", normalise="none"),
    "relu": Stages(positivity="relu", normalise="count"),
    "softplus": Stages(positivity="softplus"),
    "lssa-count": Stages(score="length-cosine", positivity="softplus", normalise="count"),
    "stick-breaking": Stages(positivity="sigmoid", normalise="stick-breaking"),
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
