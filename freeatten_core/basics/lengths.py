"""Context lengths as people write them: `16x`, `8192`, `1x,4x,16x`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import UsageError

__all__ = [
    "SHORTEST_READ",
    "default_restart",
    "parse_declared_lengths",
    "parse_lengths",
    "parse_totals",
    "power_below",
    "refuse_times",
    "tokens_of",
]

DEFAULT_RESTART = 2048
"""Tokens after which a model of others is restarted at most, unless asked otherwise."""
SHORTEST_READ = 512
"""The shortest length that a model of others is read at, unless asked otherwise."""


def parse_lengths(text: str, train_lengths: Sequence[int]) -> list[int]:
    """Lengths in tokens, ascending; every training length is among them.

    A single value means 1×, 2×, 4×, … up to it, as far as they divide it.

    Raises:
        UsageError: not a length, `×` with several training lengths, or one that does not divide
            the largest.
    """
    entries = [_tokens(entry.strip(), text, train_lengths) for entry in text.split(",")]
    longest, shortest = max(entries), min(train_lengths)
    for train_length in train_lengths:
        if longest % train_length:
            raise UsageError(
                f"--len {text}: the longest length, {longest}, is not a multiple of the "
                f"training length {train_length}; {_next_multiple(longest, train_length)} would be"
            )
    if len(entries) == 1:
        doubled, length = [], shortest
        while length < longest:
            doubled.append(length)
            length *= 2
        entries += [length for length in doubled if longest % length == 0]
    for entry in entries:
        if longest % entry:
            raise UsageError(
                f"--len {text}: {entry} tokens do not divide the longest, {longest}; "
                "every length must, so that all of them score the same tokens"
            )
        if entry < shortest:
            raise UsageError(
                f"--len {text}: {entry} tokens are less than the training length, {shortest}; "
                "lengths start at 1x"
            )
    return sorted({*entries, *train_lengths})


def parse_declared_lengths(
    text: str | None,
    restarts: Sequence[int],
    declared: Sequence[int | None],
    limits: Sequence[int | None],
) -> list[int]:
    """Lengths in tokens, ascending, for models whose training length is not known.

    None means the powers of two from 512 to twice the longest declared length, as far as every
    model has positions; a single value, the powers of two up to it that divide it. The restarts
    are among them.

    Args:
        restarts: tokens after which each row's restart forgets.
        declared: the length that each row declares, None where it declares nothing.
        limits: positions of each row, None where there is no end.

    Raises:
        UsageError: not a length, `×`, or one that does not divide the largest.
    """
    if text is None:
        longest = 2 * max(length or DEFAULT_RESTART for length in declared)
        longest = power_below(min([longest, *(each for each in limits if each is not None)]))
        entries = [longest]
    else:
        refuse_times(text)
        entries = [_tokens(entry.strip(), text, restarts) for entry in text.split(",")]
        longest = max(entries)
    for length in (*restarts, *entries):
        if longest % length:
            raise UsageError(
                f"--len {text or longest}: {length} tokens do not divide the longest, {longest}; "
                "every length and --restart must, so that all of them score the same tokens"
            )
    if len(entries) == 1:
        shortest = min(SHORTEST_READ, *restarts)
        doubled = [shortest << step for step in range(40) if shortest << step < longest]
        entries += [length for length in doubled if longest % length == 0]
    return sorted({*entries, *restarts})


def refuse_times(text: str) -> None:
    """Raises UsageError where lengths are written with ×, which models of others have no 1× for."""
    if re.search("[xX×]", text):
        raise _no_times(text)


def _no_times(text: str) -> UsageError:
    return UsageError(
        f"--len {text}: models of others do not say what they were trained on, so × means "
        "nothing; give lengths in tokens, such as 8192"
    )


def default_restart(declared: int | None, text: str | None) -> int:
    """The power of two up to 2,048, the declared length and the longest of `--len`."""
    asked = [int(number) for number in re.findall(r"[0-9]{1,9}", text or "")]
    return power_below(
        min(declared or DEFAULT_RESTART, DEFAULT_RESTART, max(asked, default=1 << 30))
    )


def power_below(length: int) -> int:
    """The largest power of two that is not longer."""
    return 1 << (max(1, length).bit_length() - 1)


def parse_totals(text: str, train_lengths: Sequence[int]) -> list[int]:
    """Lengths in tokens, ascending, of sequences made for a question: any length will do.

    A single value means ½×, 1×, 2×, … the shortest training length up to it.

    Raises:
        UsageError: not a length, or `×` with several training lengths.
    """
    entries = [_tokens(entry.strip(), text, train_lengths) for entry in text.split(",")]
    if len(entries) == 1:
        length = max(1, min(train_lengths) // 2)
        while length < entries[0]:
            entries.append(length)
            length *= 2
    return sorted(set(entries))


def _tokens(entry: str, whole: str, train_lengths: Sequence[int]) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([xX×]?)", entry)
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"--len {whole!r}: {entry!r} is not a length; write 16x, 8192 or 1x,4x,16x"
        )
    number = int(match[1])
    if not match[2]:
        return number
    if len(set(train_lengths)) > 1:
        raise UsageError(
            f"--len {whole}: the checkpoints were trained at {sorted(set(train_lengths))} tokens, "
            "so × means nothing common; give lengths in tokens"
        )
    return number * train_lengths[0]


def _next_multiple(longest: int, train_length: int) -> int:
    return train_length * max(1, round(longest / train_length))


def tokens_of(text: str, train_length: int | None) -> int:
    """`4x` or a number in tokens, 2 or more.

    Raises:
        UsageError: neither, less than 2, or × where no training length is known.
    """
    match = re.fullmatch(r"([0-9]{1,7})([xX×]?)", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--len is {text!r}; write 4x or a number of tokens such as 2048")
    if match[2] and train_length is None:
        raise _no_times(text)
    tokens = int(match[1]) * (train_length if match[2] and train_length else 1)
    if tokens < 2:
        raise UsageError(f"--len is {text}; there must be at least 2 tokens")
    return tokens
