"""How a row came to be shipped beside those that were there: chosen, and put into their results.

    python tests/measure/shipped.py held-back --corpus corpus --out held-back
    python tests/measure/shipped.py join OLD.json NEW.json --variant stick-breaking:output=gated \
        --instead stick-breaking --command 'freeatten compare --len 16x --json' \
        --out assets/results/stdlib-16x.json
    python tests/measure/shipped.py store RESULT.json --out assets/results/systems/code.json

The first writes what a training held back of its texts as files, a folder a source, so that
`freeatten compare --text held-back/books` can choose between rows without the texts that are
reported. The second adds a row of one result to another that was measured in the same way: on the
same texts, with the same versions, and keeps when and from which commit; `--instead` leaves out the
row of what was shipped before. The command is the one that gives all of them once the row is
shipped. The third leaves out of what a command printed the numbers of single texts, as every stored
result does; the second does so too. It takes a command as well, where rows were named that are
those of the command's own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from freeatten_core.basics.files import write_text
from freeatten_core.basics.kept import differences
from freeatten_core.data.prepared import load_corpus
from freeatten_core.models.catalogue import slug
from freeatten_core.results.verdicts import as_stored

OF_A_CALL = ("seconds", "command", "date", "commit", "variants")
"""What two calls that measure in the same way differ in."""


def held_back(corpus: Path, out: Path, least: int) -> None:
    """Write the validation documents of more than so many tokens as texts."""
    found = load_corpus(corpus)
    for source in found.sources:
        folder = out / source.name
        folder.mkdir(parents=True)
        ends = np.cumsum(source.validation_lengths)[:-1]
        parts = [part for part in np.split(source.validation_tokens, ends) if len(part) > least]
        for index, part in enumerate(parts):
            write_text(folder / f"{index:04d}.txt", found.tokenizer.decode(part.tolist()))
        print(f"{source.name}: {len(parts)} of {len(source.validation_lengths)} files")


def joined(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    variant: str,
    command: str,
    instead: str | None = None,
) -> dict[str, Any]:
    """`old` with the row of `new` that has that name, last, as that of a shipped checkpoint.

    Args:
        instead: the row of `old` that is left out.
    """
    asked = {key: new[key] for key in new if key not in OF_A_CALL}
    kept = {key: old[key] for key in asked if key in old}
    # not what a later version says of its texts besides, nor whether a result of them was stored
    of_texts = [key for key in old["text"] if key != "matches_stored"]
    kept["text"], asked["text"] = ({k: each["text"][k] for k in of_texts} for each in (old, new))
    if found := differences(kept, asked):
        raise SystemExit(f"measured in another way: {found}")
    rows = [row for row in new["variants"] if row["variant"] == variant]
    if len(rows) != 1 or any(row["variant"] == variant for row in old["variants"]):
        raise SystemExit(f"{variant} must be one row of the second result and none of the first")
    stay = [row for row in old["variants"] if row["variant"] != instead]
    if instead is not None and len(stay) + 1 != len(old["variants"]):
        raise SystemExit(f"{instead} must be one row of the first result")
    own: dict[str, Any] = {"checkpoint": slug(variant)}
    made = {key: new[key] for key in ("date", "commit")}
    if made != {key: old[key] for key in made}:
        own["measured"] = made
    return {
        **old,
        "seconds": round(
            old["seconds"] * len(stay) / len(old["variants"])
            + new["seconds"] / len(new["variants"]),
            1,
        ),
        "command": command,
        "variants": [*stay, rows[0] | own],
    }


def main(asked: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    texts = what.add_parser("held-back")
    texts.add_argument("--corpus", type=Path, required=True, help="of freeatten train --corpus")
    texts.add_argument("--out", type=Path, required=True, help="a folder to make")
    texts.add_argument("--least", type=int, default=8192, help="tokens that a text has more than")
    rows = what.add_parser("join")
    rows.add_argument("old", type=Path)
    rows.add_argument("new", type=Path)
    rows.add_argument("--variant", required=True, help="the row of the second that is taken")
    rows.add_argument("--instead", help="the row of the first that it takes the place of")
    rows.add_argument("--command", required=True, help="what gives all rows")
    rows.add_argument("--out", type=Path, required=True)
    one = what.add_parser("store")
    one.add_argument("result", type=Path, help="what a command printed with --json")
    one.add_argument("--command", help="what gives the same rows, where these were named")
    one.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(asked)
    if given.what == "held-back":
        held_back(given.corpus, given.out, given.least)
    elif given.what == "store":
        found = read(given.result)
        store({**found, "command": given.command or found["command"]}, given.out)
    else:
        row = given.variant, given.command, given.instead
        store(joined(read(given.old), read(given.new), *row), given.out)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def store(result: Mapping[str, Any], path: Path) -> None:
    write_text(path, json.dumps(as_stored(result), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
