"""Checkpoints by name: shipped, in a folder, on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from freeatten_core.basics.assets import assets
from freeatten_core.basics.checks import described
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import check_utf8, expanded
from freeatten_core.basics.suggestions import closest, closest_path
from freeatten_core.results.shared import whole_runs
from freeatten_core.variants.variant import Variant

from .format import CONFIG, CURVE, FILES, TOKENIZER, check_files, read_config, read_json

__all__ = [
    "MODELS",
    "UnknownTextsError",
    "fetch_files",
    "file_sha256",
    "is_near_shipped",
    "is_tokenizer",
    "locate",
    "read_curve",
    "shipped",
    "slug",
    "source_text",
    "stored_training",
    "tokenizer_file",
]

MODELS = "checkpoints"
"""The folder of `assets` with models of text; those of a task lie in one of its name."""

TEXTS_FILE = "text.json"
"""There: what all but one of the shipped models were trained on, kept once as the tokenizer is."""

TOKENIZER_LAYOUTS: Sequence[Mapping[str, Any]] = ({"separators": (",", ":")}, {"indent": 2})
"""How `json.dumps` writes what the tokenizers library does: today's files, and earlier ones."""


class UnknownTextsError(ContentError):
    """A curve names the texts it was trained on by a digest, and no list here has it."""


def shipped(kind: str = MODELS) -> list[str]:
    """The names of the shipped checkpoints: those that read text, or of a task by its name."""
    return sorted(path.parent.name for path in assets().glob(f"{kind}/*/{CONFIG}"))


def slug(variant: Variant | str) -> str:
    """A variant's folder name: `lssar:p=15` is `lssar-p15`."""
    name = str(Variant.parse(variant).trained)
    return name.translate(str.maketrans(":/", "-_", "=@"))


def stored_training(variant: Variant) -> str | None:
    """Where runs of a variant that is not shipped are stored, and what the one with the most steps
    was trained by, to be told behind `is`; None if it was never measured. Of equal ones it is one
    with a checkpoint's tokenizer, so that what is trained so can stand beside shipped rows."""
    named = [
        (f"{folder}/{path.stem}", run)
        for folder in ("rows", "cube")
        for path in sorted((assets() / "results" / folder).glob("*.json"))
        for run in whole_runs(read_json(path))["runs"]
        if run["variant"] == str(variant.trained)
    ]
    if not named:
        return None
    name, run = max(
        named,
        key=lambda each: (each[1]["recipe"]["steps"], "--tokenizer" in each[1]["train_command"]),
    )
    return (
        f"stored (assets/results/{name}.json), trained by {run['train_command']}; train one so, "
        "with your own texts, and pass its folder with --checkpoint FOLDER"
    )


def source_text(source: str | Path) -> str:
    """A checkpoint's name or folder as text.

    Raises:
        UsageError: something else, or empty.
    """
    if not isinstance(source, str | Path) or not str(source).strip():
        raise UsageError(
            f"the source is {described(source)}; it must be a checkpoint's name or folder"
        )
    return str(source)


def locate(source: str | Path, kind: str = MODELS) -> tuple[str, Path]:
    """The name and the folder that `source` stands for; downloads a hub repository.

    Raises:
        UsageError: nothing of that name exists; the message names the nearest.
        ContentError: a hub repository that is in another format.
    """
    text = source_text(source)
    path = expanded(text)
    if path.is_dir():
        check_utf8(path)
        return text, path
    names = shipped(kind)
    try:
        name = slug(text) if text not in names else text
    except ValueError:
        name = text
    if name in names:
        return name, assets() / kind / name
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.startswith("."):
        return text, _download(text)
    told = (_stored(text) if kind == MODELS else "") + _closest(text, names)
    raise UsageError(
        f"no checkpoint {text!r}: it is not a shipped name, an existing folder, or a Hugging "
        "Face repository owner/name in freeatten's format"
        + (told or f"; known: {', '.join(names)}")
    )


def tokenizer_file(name: str, folder: Path) -> Path:
    """Where the tokenizer of a checkpoint is: in its folder, or the one of what is shipped.

    What is shipped has one tokenizer, kept once. A folder without its own is given that one if its
    config says that the model was trained with it, so that a copy of a shipped folder is whole.

    Raises:
        ContentError: there is none, or a config to be asked is not readable.
    """
    own, shared = folder / TOKENIZER, assets() / MODELS / TOKENIZER
    if not own.is_file() and (folder / CONFIG).is_file() and shared.is_file():
        trained_with = read_json(folder / CONFIG).get("tokenizer_sha256")
        if is_tokenizer(shared, trained_with):
            return shared
    check_files(name, folder, [TOKENIZER])
    return own


def read_curve(folder: Path) -> dict[str, Any]:
    """The learning curve of a checkpoint and what it was trained on, from `curve.json`.

    That of a shipped model may name its texts by the digest of the file that lists them.

    Raises:
        ContentError: it is missing or no JSON.
        UnknownTextsError: it names texts that are not those of what is shipped here.
    """
    about = read_json(folder / CURVE)
    text = about.get("text")
    if not isinstance(text, dict) or set(text) != {"sha256"}:
        return about
    shared = assets() / MODELS / TEXTS_FILE
    if not shared.is_file() or text["sha256"] != file_sha256(shared):
        raise UnknownTextsError(
            f"{folder / CURVE} names the texts it was trained on by the SHA-256 "
            f"{str(text['sha256'])[:12]}…, which is that of no list here: the folder is a copy of "
            "another version's"
        )
    return {**about, "text": read_json(shared)}


def is_tokenizer(path: Path, sha256: object) -> bool:
    """Whether a digest is that of a tokenizer's file, be it written with white space or without.

    A config may be of a version that wrote it otherwise than the file at hand was written.
    """
    if sha256 == file_sha256(path):
        return True
    content = read_json(path)
    return any(
        sha256
        == hashlib.sha256(json.dumps(content, ensure_ascii=False, **way).encode()).hexdigest()
        for way in TOKENIZER_LAYOUTS
    )


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_near_shipped(text: str) -> bool:
    """Whether a name is a variant's, or resembles that of a shipped checkpoint."""
    try:
        slug(text)
    except ValueError:
        return closest(text, shipped()) is not None
    return True


def _stored(text: str) -> str:
    """Where results of the variant are that a text names, or nothing."""
    try:
        found = stored_training(Variant.parse(text))
    except ValueError:
        return ""
    return f"; what such a model gave is {found}" if found else ""


def _closest(text: str, names: Sequence[str] = ()) -> str:
    """`; did you mean 'x'?`, x a shipped name or a checkpoint folder, or nothing."""
    found = closest_path(text, expanded(text), lambda path: (path / CONFIG).is_file(), names)
    return f"; did you mean {found!r}?" if found else ""


def _download(repository: str) -> Path:
    folder = fetch_files(repository, [CONFIG])
    check_files(repository, folder, [CONFIG])
    read_config(folder / CONFIG)  # before the weights of another model are fetched
    return fetch_files(repository, FILES)


def fetch_files(repository: str, files: Sequence[str], revision: str | None = None) -> Path:
    """The folder with those files of a hub repository, as far as it has them.

    Args:
        files: names, with `*` for any part.
        revision: a branch, tag or commit; None for the main one.

    Raises:
        UsageError: the hub does not give it, or it is not here and `HF_HUB_OFFLINE` is set.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub was not reached"
        raise UsageError(
            f"no checkpoint {repository!r}: it is neither a folder here nor in the Hugging Face "
            f"cache, and {why}{_closest(repository)}"
        ) from error
    except Exception as error:  # the hub's types, and those of the HTTP library it uses
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(
            f"no checkpoint {repository!r}: it is not a folder here, and the Hugging Face hub "
            f"did not give it: {reason}{_closest(repository)}"
        ) from error
