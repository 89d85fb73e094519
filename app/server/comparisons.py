"""Comparisons that a page asks for: chosen checkpoints on a text, at every length that fits it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from freeatten_core.basics.errors import UsageError

from .analyses import ID_CHARACTERS, LONGEST, MOST_SEED, Analyses
from .answers import Answer, GoneError, text_of
from .jobs import Advance
from .models import MOST_MODELS, SOURCE_CHARACTERS
from .texts import TextSource

if TYPE_CHECKING:
    from freeatten_core.basics.progress import Watch
    from freeatten_core.data.documents import Document
    from freeatten_core.measures.comparison import Request
    from freeatten_core.models.rows import CausalRow, Row
    from freeatten_core.results.format import Result

__all__ = ["Asked", "Compared", "Comparisons", "fitting_lengths", "restart_of"]

MOST_TEXTS = 4
"""Of a source with several files, as `freeatten compare` takes them."""


@dataclass(frozen=True)
class Asked:
    """What is compared."""

    checkpoints: tuple[str, ...]
    text: TextSource
    longest: int
    """In tokens; shorter where the text is."""
    seed: int


@dataclass(frozen=True)
class Compared:
    """A result, as `freeatten compare --json` prints it."""

    result: Result


class Comparisons:
    """The comparisons of one server; they are kept beside its analyses."""

    def __init__(self, analyses: Analyses) -> None:
        self._server = analyses

    def asked(self, checkpoints: Any, text: Any, longest: Any, seed: Any) -> Asked:
        """A request, checked.

        Raises:
            UsageError: a sentence about what is wrong with it.
        """
        from freeatten_core.basics.checks import check_whole

        if not isinstance(checkpoints, list) or not 1 <= len(checkpoints) <= MOST_MODELS:
            raise UsageError(f"checkpoints must be a list of 1 to {MOST_MODELS} names")
        names = [text_of("a checkpoint", each, SOURCE_CHARACTERS).strip() for each in checkpoints]
        return Asked(
            checkpoints=tuple(dict.fromkeys(names)),
            text=TextSource.of(text, self._server.texts.kinds()),
            longest=check_whole("longest", longest, 1, LONGEST),
            seed=check_whole("seed", seed, 0, MOST_SEED),
        )

    def start(self, asked: Asked) -> str:
        """Begins a comparison; the name of its job.

        Raises:
            UsageError: too many are waiting.
        """
        return self._server.jobs.start("comparison", lambda advance: self._made(asked, advance))

    def get(self, name: Any) -> Result:
        """A result by its id.

        Raises:
            GoneError: it is not kept.
        """
        found = self._server.kept.get(text_of("the comparison", name, ID_CHARACTERS))
        if not isinstance(found, Compared):
            raise GoneError
        return found.result

    def _made(self, asked: Asked, advance: Advance) -> Answer:
        from freeatten_core.measures.comparison import compare

        server = self._server
        name = server.id_of(asked.checkpoints, asked.text.digest, asked.longest, asked.seed)
        if server.kept.get(name) is None:
            result = compare(self._request(asked, advance), _watch(advance)).result
            _check_whole(result)
            server.kept.put(name, Compared(result), len(json.dumps(result)))
        return {"id": name}

    def _request(self, asked: Asked, advance: Advance) -> Request:
        from freeatten_core.basics.devices import choose_device
        from freeatten_core.measures.comparison import Request

        rows: list[Row | CausalRow] = []
        for source in asked.checkpoints:
            rows.append(self._server.models.row(source, inside=False))
            advance(0, 1)
        documents = self._server.texts.documents(asked.text)
        lengths = fitting_lengths(rows, documents, asked.longest)
        option = self._server.models.option
        named = [word for each in asked.checkpoints for word in ("--checkpoint", option(each))]
        words = ["freeatten", "compare", *named, "--len", str(max(lengths))]
        if any(row.model.train_length is None for row in rows):
            restart = restart_of(rows, max(lengths))
            rows = [row.restarted(restart) for row in rows]
            words += ["--restart", str(restart)]
        command = self._server.texts.command(words, asked.text, asked.seed)
        own = asked.text.kind == "own"
        return Request(
            rows=rows,
            lengths=lengths,
            documents=documents,
            source=asked.text.name if own else self._server.texts.option(asked.text),
            command=command,
            texts=MOST_TEXTS,
            seed=asked.seed,
            device=choose_device(self._server.device),
        )


def _check_whole(result: Result) -> None:
    """Whether every row has its numbers.

    Raises:
        ContentError: the first that has none, and why.
    """
    from freeatten_core.basics.errors import ContentError

    for row in result["variants"]:
        if row.get("error"):
            raise ContentError(f"{row['variant']}: {row['error']}")


def fitting_lengths(
    rows: Sequence[Row | CausalRow], documents: Sequence[Document], longest: int
) -> list[int]:
    """1×, 2×, 4×, … the training length, as far as the longest document and `longest` go; with
    models of others, powers of two in the place of their multiples.

    A text that is too short for 1× is asked for 1×: the comparison says what it lacks.

    Raises:
        UsageError: training lengths that have no common multiple within the bounds of the page, or
            a model without positions for the shortest length.
    """
    from freeatten_core.basics.lengths import (
        SHORTEST_READ,
        parse_declared_lengths,
        parse_lengths,
    )

    trained = sorted({row.model.train_length for row in rows if row.model.train_length})
    length = math.lcm(*trained) if trained else SHORTEST_READ
    if length > LONGEST:
        listed = " and ".join(f"{each:,}" for each in trained)
        raise UsageError(
            f"these checkpoints were trained at {listed} tokens, and no length up to {LONGEST:,} "
            "suits all of them; compare fewer"
        )
    for row in rows:
        row.model.check_length(length)
    most = min(longest, _tokens(rows, documents) - 1)
    while 2 * length <= most and all(map(partial(_reads, length=2 * length), rows)):
        length *= 2
    if all(row.model.train_length for row in rows):
        return parse_lengths(str(length), trained)
    return parse_declared_lengths(str(length), [*trained, restart_of(rows, length)], [], [])


def _tokens(rows: Sequence[Row | CausalRow], documents: Sequence[Document]) -> int:
    """Of the longest document, by the tokenizer that makes the fewest."""
    from freeatten_core.data.tokenizer import encode
    from freeatten_core.models.rows import tokenizers_of

    text = max((document.text for document in documents), key=len, default="")
    return min(len(encode(tokenizer, text)) for tokenizer in tokenizers_of(rows).values())


def _reads(row: Row | CausalRow, length: int) -> bool:
    """Whether a row has positions for so many tokens."""
    try:
        row.model.check_length(length)
    except UsageError:
        return False
    return True


def restart_of(rows: Sequence[Row | CausalRow], longest: int) -> int:
    """Tokens after which models of others restart: as they usually do, or half of the longest
    length, a quarter, … so that something lies beyond."""
    usual = min(row.model.restart_length for row in rows if row.model.train_length is None)
    restart = longest // 2
    while restart > usual:
        restart //= 2
    return restart


def _watch(advance: Advance) -> Watch:
    """Reports the share that is scored."""
    from freeatten_core.basics.progress import Meter, Watch

    meter = Meter(1.0, advance)

    def total(whole: float) -> None:
        meter.whole = whole

    return Watch(total=total, advance=meter.add)
