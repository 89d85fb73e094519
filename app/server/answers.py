"""Functions that the page calls: checked arguments in, JSON out, failures as sentences.

They skip Gradio's queue and its API: whatever a browser sends arrives here. `freeatten_core` is
imported when it is first needed, but for its errors: torch takes a second, and the page answers
before.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from freeatten_core.basics.errors import ContentError, UsageError, sentence_and_code

__all__ = [
    "Answer",
    "GoneError",
    "answering",
    "choice_of",
    "object_of",
    "sentence_of",
    "shortened",
    "text_of",
    "without_folders",
]

Answer = dict[str, Any]
PREFIX = "ask_"
"""A component has attributes of its own, and the functions become others."""
BUG = "something went wrong here that should not; the server's log has the details"
SHOWN = 60
"""Characters of a wrong value that a sentence repeats."""

logger = logging.getLogger("freeatten_app")


class GoneError(Exception):
    """An analysis that is no longer kept, or never was: the page asks for it anew."""


def answering(function: Callable[..., Answer]) -> Callable[[Any], Answer]:
    """`function` of keywords as a server function of one object."""
    signature = inspect.signature(function)

    def answer(given: Any) -> Answer:
        try:
            return function(**_keywords(signature, given))
        except GoneError:
            return {"gone": True}
        except Exception as error:  # Gradio turns what escapes into `undefined` in the page
            return {"error": sentence_of(error)}

    answer.__name__ = PREFIX + function.__name__
    return answer


def sentence_of(error: Exception) -> str:
    """What the page says about a failure; a bug goes to the log."""
    found = sentence_and_code(error)
    if found is None:
        logger.error("a bug", exc_info=error)
    return BUG if found is None else found[0]


@contextmanager
def without_folders(what: str, *, local: bool) -> Iterator[None]:
    """For a visitor from elsewhere, failures go to the log: they can name folders of this machine.

    Raises:
        UsageError: names `what` alone, unless the visitor is local.
    """
    try:
        yield
    except (UsageError, ContentError, OSError) as error:
        if local:
            raise
        logger.warning("%s: %s", what, error)
        raise UsageError(f"{what} cannot be used; the server's log says why") from error


def _keywords(signature: inspect.Signature, given: Any) -> dict[str, Any]:
    if given == []:  # the page called it with nothing
        given = {}
    if not isinstance(given, dict):
        raise UsageError("the call must have one object with its arguments")
    try:
        return signature.bind(**given).arguments
    except TypeError as error:
        raise UsageError(f"the call does not fit: {error}") from None


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def text_of(name: str, value: Any, most: int) -> str:
    """A string of at most `most` characters; what UTF-8 cannot hold becomes a question mark.

    Raises:
        UsageError: something else, or longer.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} is {shortened(value)}; it must be text")
    if len(value) > most:
        raise UsageError(f"{name} has {len(value):,} characters; at most {most:,} are taken")
    return value.encode("utf-8", "replace").decode("utf-8")


def choice_of(name: str, value: Any, legal: Sequence[str]) -> str:
    """One of some words.

    Raises:
        UsageError: says which there are.
    """
    if not isinstance(value, str) or value not in legal:
        raise UsageError(f"{name} is {shortened(value)}; it can be {', '.join(legal)}")
    return value


def object_of(name: str, value: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    """An object with exactly these keys.

    Raises:
        UsageError: something else.
    """
    if not isinstance(value, dict) or set(value) != set(keys):
        raise UsageError(f"{name} is {shortened(value)}; it must have {', '.join(keys)}")
    return value
