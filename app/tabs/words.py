"""The words behind a stored result: of its texts the result has names and digests alone, so words
are shown where a file of this machine has the digest."""

from __future__ import annotations

from collections.abc import Callable

from ..server.answers import Answer, choice_of
from ..server.texts import Texts

__all__ = ["functions"]


def functions(texts: Texts) -> list[Callable[..., Answer]]:
    """What the page can call."""

    def words(result: str) -> Answer:
        """Which texts of a stored result are on this machine, and of how many."""
        from freeatten_core.results.stored import all_comparisons

        stored = all_comparisons()
        known = choice_of("the result", result, list(stored))
        digests = (stored[known].get("text") or {}).get("manifest") or {}
        here = [digest for digest in digests.values() if texts.has(digest)]
        return {"texts": [named(texts, digest) for digest in here], "of": len(digests)}

    def text_by_digest(digest: str) -> Answer:
        """What the text of a digest is called here."""
        return named(texts, digest)

    return [words, text_by_digest]


def named(texts: Texts, digest: str) -> Answer:
    return {"digest": digest, "name": texts.by_digest(digest).name}
