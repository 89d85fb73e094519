"""Which texts an analysis can be of, and the tokens of one."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freeatten_core.basics.errors import UsageError

from . import visitor
from .answers import choice_of, object_of, shortened, text_of, without_folders
from .cache import BoundedCache

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from freeatten_core.data.documents import Document

__all__ = ["MOST_CHARACTERS", "PASTED_FILE", "WRITING", "TextSource", "Texts"]

FOUND = "found"
"""A file of this machine's texts, by its digest."""
DIGEST = re.compile("[0-9a-f]{64}")
SEARCHED = ("stdlib",)
"""Besides the text of the command."""

WRITING = "writing"
"""The text of the stored pictures: this project's own pages and modules."""
MOST_CHARACTERS = 1_000_000
"""Of a pasted text or a file."""
NAME_CHARACTERS = 200
PASTED = "pasted text"
PASTED_FILE = "pasted-text.txt"
"""What the page saves a pasted text as, and what its commands read."""
KEPT_SELECTIONS, SELECTION_BYTES = 64, 32_000_000


@dataclass(frozen=True)
class TextSource:
    """A source that every session can name, or one session's own text."""

    kind: str
    """`stdlib`, `prose`, `given` (with the command), `own` or `found` (by its digest)."""
    name: str = ""
    """Of an `own` text; the digest of one that is found."""
    content: str = ""
    """Of an `own` text."""

    @classmethod
    def of(cls, value: Any, kinds: Mapping[str, str]) -> TextSource:
        """What a page asks for.

        Raises:
            UsageError: a source that there is not, or an own text that is empty or too long.
        """
        asked = object_of("text", value, ("kind", "name", "content"))
        kind = choice_of("the text's source", asked["kind"], [*kinds, "own", FOUND])
        if kind == FOUND:
            return cls(kind, _digest(asked["name"]))
        if kind != "own":
            return cls(kind)
        content = text_of("the text", asked["content"], MOST_CHARACTERS)
        if not content.strip():
            raise UsageError("the text is empty; paste one, or choose a file")
        name = text_of("the text's name", asked["name"], NAME_CHARACTERS) or PASTED
        return cls(kind, name, content.replace("\r\n", "\n"))

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.kind}\0{self.name}\0{self.content}".encode()).hexdigest()


class Texts:
    """The sources of one server, and the tokens drawn from them."""

    def __init__(self, given: str | None, *, local: bool = True) -> None:
        """Args: what the command names, and whether the server listens on loopback alone."""
        self.given, self._on_loopback = given, local
        self._drawn: BoundedCache[tuple[torch.Tensor, str]] = BoundedCache(
            KEPT_SELECTIONS, SELECTION_BYTES
        )

    @property
    def local(self) -> bool:
        """Whether the visitor sits at this machine."""
        return self._on_loopback and visitor.is_local()

    def kinds(self) -> dict[str, str]:
        """The sources that can be named, with how they are called; the first is shown first."""
        from freeatten_core.results.format import source_name

        given = {} if self.given is None else {"given": Path(self.given).name}
        named = {kind: source_name(kind) for kind in ("stdlib", "prose")}
        return given | named | {WRITING: "this project's own writing"}

    def command(self, words: Sequence[str], source: TextSource, seed: int) -> str:
        """The command of `words` about a text: a pasted one is read from the file it is saved as.

        Args:
            words: `freeatten` and all that follows, without `--text` and `--seed`.
        """
        option = self.option(source)
        read = f" < {PASTED_FILE}" if option == "-" else ""
        return shlex.join([*words, "--text", option, "--seed", str(seed)]) + read

    def option(self, source: TextSource) -> str:
        """The command's `--text` for a source; folders are nobody's business elsewhere."""
        if source.kind == "own":
            if source.name == PASTED:
                return "-"
            is_word = source.name in ("stdlib", "prose") or source.name.startswith("-")
            return f"./{source.name}" if is_word else source.name
        path = str(self._found(source.name)[0]) if source.kind == FOUND else self._path(source)
        return path if self.local else Path(path).name

    def _path(self, source: TextSource) -> str:
        if source.kind == WRITING:
            from freeatten_core.basics.assets import assets

            return str(assets() / "results" / "evidence" / "writing.txt")
        return (self.given or "") if source.kind == "given" else source.kind

    def tokens(
        self, source: TextSource, tokenizer: Tokenizer, length: int, seed: int
    ) -> tuple[torch.Tensor, str]:
        """The tokens of one text, and its name; an own text that is shorter is taken whole.

        Raises:
            UsageError: no text of the source is long enough.
        """
        from freeatten_core.data.tokenizer import tokenizer_id

        key = source.digest, tokenizer_id(tokenizer), length, seed
        found = self._drawn.get(key)
        if found is None:
            found = self._draw(source, tokenizer, length, seed)
            self._drawn.put(key, found, found[0].nbytes)
        return found

    def _draw(
        self, source: TextSource, tokenizer: Tokenizer, length: int, seed: int
    ) -> tuple[torch.Tensor, str]:
        import torch

        from freeatten_core.data.selection import select_prefix
        from freeatten_core.data.tokenizer import encode

        documents = self.documents(source)
        if source.kind in ("own", FOUND):
            length = min(length, max(2, len(encode(tokenizer, documents[0].text))))
        drawn = select_prefix(documents, tokenizer, length, seed)
        return torch.from_numpy(drawn.tokens), drawn.name

    def documents(self, source: TextSource) -> list[Document]:
        """The files of a source, or the one own text."""
        from freeatten_core.data.documents import Document

        if source.kind == "own":
            return [Document(source.name, source.content)]
        if source.kind == FOUND:
            return [self.by_digest(source.name)]
        path = self._path(source)
        with without_folders(f"the text {Path(path).name}", local=self.local):
            return _read(path)

    def has(self, digest: str) -> bool:
        """Whether a text of this machine has a digest."""
        return any(digest in _by_digest(each) for each in self._searched())

    def by_digest(self, digest: Any) -> Document:
        """The text of a digest: of the standard library, or given with the command.

        Raises:
            UsageError: no digest, or none of those has it.
        """
        return self._found(digest)[1]

    def _found(self, digest: Any) -> tuple[Path, Document]:
        """Where it lies, and the text."""
        wanted = _digest(digest)
        for source in self._searched():
            document = _by_digest(source).get(wanted)
            if document is not None:
                return _place(source, document), document
        raise UsageError(
            f"no text here has the digest {wanted[:12]}…; its words are shown where the file is: "
            "in Python's standard library, or given with freeatten-viz serve --text"
        )

    def _searched(self) -> list[str]:
        return [*SEARCHED, *([] if self.given is None else [self.given])]


def _digest(value: Any) -> str:
    found = text_of("the digest", value, NAME_CHARACTERS)
    if not DIGEST.fullmatch(found):
        raise UsageError(f"the digest is {shortened(found)}; it must be 64 hexadecimal digits")
    return found


def _place(source: str, document: Document) -> Path:
    from freeatten_core.basics.files import expanded
    from freeatten_core.data.documents import stdlib_root

    path = stdlib_root() if source == "stdlib" else expanded(source)
    return path / document.name if path.is_dir() else path


@lru_cache(maxsize=3)
def _by_digest(source: str) -> dict[str, Document]:
    return {document.sha256: document for document in _read(source)}


@lru_cache(maxsize=3)
def _read(source: str) -> list[Document]:
    from freeatten_core.data.documents import evaluation_documents

    return evaluation_documents(source)
