"""Where the worth of far context comes from (`tests/measure/gain.py`), in tables."""

from __future__ import annotations

from .format import Entry, Result, count, number, percent, plural, row_names, signed, source_name
from .heads import HEADS_SHOWN, head_name
from .markdown import machine, table

__all__ = ["gain_blocks", "gain_heads_table", "gain_table"]


def gain_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of a stored result, by their names in the pages."""
    return {
        f"{name} tokens": gain_table(result),
        f"{name} heads": gain_heads_table(result),
        f"{name} provenance": gain_provenance(result),
    }


def gain_table(result: Result) -> str:
    """A line a row: the gain over all tokens, then by where the same two tokens last stood."""
    trained = count(result["train_length"])
    kinds = {"near": f"within {trained}", "far": "only farther back", "new": "nowhere before"}
    header = ["gain, nats a token", "all", *kinds.values(), "of the gain on those farther back, %"]
    first = result["variants"][0]["tokens"]
    shares = ["% of the tokens", "100", *(percent(first[kind]["share"]) for kind in kinds), ""]
    lines = [
        [
            f"`{name}`",
            signed(row["gain"]),
            *(signed(row["tokens"][kind]["gain"]) for kind in kinds),
            percent(row["tokens"]["far"]["of_gain"]) if row["gain"] > 0 else "–",
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(header, [shares, *lines])


def gain_heads_table(result: Result) -> str:
    """A line a row: what its heads read where the two tokens stood only farther back."""
    header = ["", "on far keys, mean of all heads", "on that one token: most", "second", "third"]
    lines = [
        [
            f"`{name}`",
            number(_mean(row, "far")),
            *(f"{head_name(head)}: {number(head['place'])}" for head in _readers(row)),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(header, lines)


def gain_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    half, length = count(result["length"] // 2), count(result["length"])
    return (
        f"{plural(result['texts'], 'text')} of {source_name(result['text']['source'])}, the last "
        f"{half} of {length} tokens of each; heads over {count(result['variants'][0]['rows'])} "
        f"tokens. {machine(result)}"
    )


def _mean(row: Entry, key: str) -> float:
    return sum(float(head[key]) for head in row["heads"]) / len(row["heads"])


def _readers(row: Entry) -> list[Entry]:
    return sorted(row["heads"], key=lambda head: -float(head["place"]))[:HEADS_SHOWN]
