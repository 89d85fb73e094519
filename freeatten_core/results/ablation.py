"""What `freeatten ablate` found, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping

from freeatten_core.variants.stages import Computed, Stages
from freeatten_core.variants.variant import Variant

from .format import (
    Entry,
    Result,
    count,
    forms_text,
    marked_length,
    plural,
    row_names,
    signed,
    source_name,
    with_half_width,
)
from .heads import HEADS_SHOWN, head_name
from .markdown import machine, table

__all__ = [
    "UNDONE_TITLES",
    "ablation_heads_table",
    "ablation_provenance",
    "ablation_reading",
    "ablation_table",
    "ablation_texts",
    "strongest_heads",
]

UNDONE_TITLES: Mapping[str, str] = {
    "intact": "as it is",
    "window": "far keys hidden",
    "rotation": "known rotation",
    "scale": "other scale",
    "rotation+scale": "both",
}
"""What `freeatten ablate` undoes, in a word or two."""


def ablation_table(result: Result) -> str:
    """Δ with one thing undone, variant × what."""
    rows = [
        [
            f"`{name}`",
            *(
                with_half_width(signed(row["delta"][key]), row["delta_ci95"][key])
                for key in UNDONE_TITLES
            ),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table([f"Δ at {count(result['length'])}", *UNDONE_TITLES.values()], rows)


def ablation_heads_table(result: Result) -> str:
    """The heads whose far keys cost most, with the change of the loss when they are hidden."""
    rows = [
        [
            f"`{name}`",
            *(
                f"{head_name(head)}: {with_half_width(signed(head['change']), head['change_ci95'])}"
                for head in strongest_heads(row)
            ),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    places = ["costs most", "second", "third"][:HEADS_SHOWN]
    return table(["far keys hidden from one head", *places], rows)


def ablation_provenance(result: Result) -> str:
    """One line: texts, machine, versions, command."""
    return f"{ablation_texts(result)}; {machine(result)}"


def _is_biased(computed: Computed) -> bool:
    return isinstance(computed, Stages) and computed.score == "dot-log-n"


def ablation_reading(result: Result) -> str:
    """What the numbers of `freeatten ablate` say."""
    known = count(marked_length(result) or 0)
    biased = [
        row["variant"]
        for row in result["variants"]
        if "declared_length" not in row and _is_biased(Variant.parse(row["variant"]).computes)
    ]
    farthest = (
        f"of {known} declared tokens are" if "declared_length" in result else "in training were"
    )
    grows = f"; −log N in the score of {' and '.join(biased)} goes on falling" if biased else ""
    return (
        "Δ: loss of the last half minus that of the same tokens by the model that forgets what "
        f"is older than {known} tokens. Far keys hidden: every head sees its last {known} "
        "tokens. Known rotation: what is farther away is turned as the farthest keys "
        f"{farthest}. Other scale: the factor log N stops growing at {known} keys; scores without "
        f"it get it there{grows}"
    )


def ablation_texts(result: Result) -> str:
    """Which texts, and the form of weights that are no longer as they were."""
    forms = forms_text(result)
    return (
        f"{plural(result['texts'], 'text')} of {source_name(result['text']['source'])}, the last "
        f"{count(result['length'] // 2)} of {count(result['length'])} tokens of each scored"
        + (f"; weights of {forms}" if forms else "")
    )


def strongest_heads(row: Entry, shown: int = HEADS_SHOWN) -> list[Entry]:
    """The heads from which hiding far keys lowers the loss most."""
    return sorted(row["heads"], key=lambda head: float(head["change"]))[:shown]
