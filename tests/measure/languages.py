"""Joins results of `freeatten languages` whose models have different numbers of layers.

    python tests/measure/languages.py OUT.json ONE.json TWO.json

The first result comes first, with what is said of its run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from freeatten_core.basics.files import write_text
from freeatten_core.results.languages import joined_languages


def main() -> None:
    out, *given = map(Path, sys.argv[1:])
    results = [json.loads(each.read_text(encoding="utf-8")) for each in given]
    write_text(out, json.dumps(joined_languages(results), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
