"""The import of Gradio, which most of the seconds before the first answer go to, made shorter."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

__all__ = ["shorter"]

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where httpx looks for certificates, in this order, before its own bundle."""


@contextmanager
def shorter() -> Iterator[None]:
    """Importing Gradio takes less than half as long within; nothing else is to be imported there.

    Gradio is the same afterwards, but for stubs that it keeps for editors and the certificates of
    its clients, which this app never calls.
    """
    with ExitStack() as stack:
        for each in (_without_stubs, _compiling_once, _without_certificates):
            stack.enter_context(each())
        yield


@contextmanager
def _without_stubs() -> Iterator[None]:
    """At every import Gradio parses the source of each of its components to keep a stub beside it.

    It spares classes that have no file, as `inspect` says by an `OSError`.
    """

    def no_file(object: Any) -> str:
        raise OSError(f"the file of {object} is not looked for while Gradio is imported")

    getfile, inspect.getfile = inspect.getfile, no_file
    try:
        yield
    finally:
        inspect.getfile = getfile


@contextmanager
def _compiling_once() -> Iterator[None]:
    """The docstring of every event of every component is a template: 216, of which 36 differ."""
    from jinja2 import Environment

    compiled = Environment.compile
    # mypy lets no method be replaced; this one is the cached original, and put back below
    Environment.compile = cache(compiled)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Environment.compile = compiled  # type: ignore[method-assign]


@contextmanager
def _without_certificates() -> Iterator[None]:
    """Gradio makes three clients while it is imported, and each reads all of the certificates.

    They fetch what a component refers to at another address; none does here.
    """
    before = {name: os.environ.pop(name, None) for name in CERTIFICATES}
    os.environ["SSL_CERT_DIR"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_DIR"]
        os.environ.update({name: path for name, path in before.items() if path is not None})
