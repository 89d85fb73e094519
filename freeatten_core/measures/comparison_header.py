"""What a comparison says of itself: what was scored, where, and on which texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from freeatten_core.basics.assets import assets
from freeatten_core.basics.devices import DTYPES
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection
from freeatten_core.models.rows import types_of
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.verdicts import SCHEMA

from .request import Request

__all__ = ["header", "matches_stored"]


def header(request: Request, selection: Selection, seconds: float) -> ResultDict:
    """Everything in a result but its rows."""
    tokenizer = request.rows[0].tokenizer
    digest = hashlib.sha256()
    for text in selection.texts:
        digest.update(tokenizer.decode(text.tokens.tolist()).encode())
    return {
        "schema": SCHEMA,
        **request.rows[0].lengths,
        "lengths": list(request.lengths),
        "texts": len(selection.texts),
        "seed": request.seed,
        "dtype": types_of(request.rows, DTYPES[request.dtype]),
        "control": request.control,
        **run_facts(request.device, request.command, seconds),
        "text": {
            **selection.facts(request.source),
            "tokens": len(selection.texts) * max(request.lengths),
            "sha256": digest.hexdigest(),
            "matches_stored": matches_stored(request.source, selection.documents),
            "manifest": manifest(selection.documents),
        },
    }


def matches_stored(source: str, documents: Iterable[Document]) -> bool | None:
    """Whether the files scored are those of the stored results; None if none are stored."""
    stored: dict[str, str] = {}
    for path in sorted((assets() / "results").glob("*.json")):
        text = json.loads(path.read_text(encoding="utf-8")).get("text", {})
        if text.get("source") == source:
            stored |= text.get("manifest", {})
    if not stored:
        return None
    return all(stored.get(name) == digest for name, digest in manifest(documents).items())
