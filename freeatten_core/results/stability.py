"""How a result of `freeatten stability` is read: what is lost, numbers in words, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .format import MISSING, Entry, Result, count, source_name
from .markdown import date_and_commit, table
from .speed import machine

__all__ = [
    "FORM_TITLES",
    "KIND_TITLES",
    "LOST",
    "SHORT_TYPES",
    "entries",
    "error_table",
    "error_text",
    "gradient_table",
    "gradient_text",
    "kinds",
    "lost",
    "lost_from",
    "norm_table",
    "pair_table",
    "provenance",
    "ranking_table",
    "score_table",
    "scores_text",
    "short",
    "stability_blocks",
    "unmeasured",
]

FORM_TITLES: Mapping[str, str] = {
    "naive": "the formulas as written, in that type",
    "safe": "the same with max-subtraction or its like",
    "kernel": "attention() of this project",
}
"""What is computed, in words."""
KIND_TITLES: Mapping[str, str] = {
    "random": "random queries and keys",
    "checkpoint": "queries and keys of the shipped models",
}
SHORT_TYPES: Mapping[str, str] = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}
GRADIENTS = ("query", "key", "value")
LOST = "✗"

PAIRS: Sequence[tuple[str, str, str]] = (
    ("softplus for exp, dot product", "softmax", "softplus"),
    ("softplus for exp, length-scaled cosine", "softmax-ls", "lssa"),
    ("length-scaled cosine for dot product, exp", "softmax", "softmax-ls"),
    ("length-scaled cosine for dot product, softplus", "softplus", "lssa"),
    ("l1 norm for division by N", "lssa-count", "lssa"),
    ("re-weighting p=3", "lssa", "lssar:p=3"),
    ("re-weighting p=15", "lssa", "lssar:p=15"),
    ("re-weighting p=15 of exp", "softmax-ls", "softmax-ls-r:p=15"),
)
"""One stage changed: what, and the variants before and after."""

Tables = Mapping[str, Sequence[Sequence[float | None]]]
"""What one form in one type gave: every measure as a table lengths × scales."""


def entries(result: Result, kind: str) -> list[Entry]:
    """The variants measured on a kind of inputs."""
    return [entry for entry in result["variants"] if entry["inputs"] == kind]


def kinds(result: Result) -> list[str]:
    """The kinds of inputs that were measured."""
    return list(dict.fromkeys(entry["inputs"] for entry in result["variants"]))


def unmeasured(result: Result) -> list[str]:
    """Variants without a shipped checkpoint, where checkpoints were measured too; of a part those
    before the last that was, for the others may have one."""
    if "checkpoint" not in kinds(result):
        return []
    seen = {entry["variant"] for entry in entries(result, "checkpoint")}
    names = result["settings"]["variants"]
    if result.get("partial"):
        names = names[: 1 + max(map(names.index, seen))]
    return [name for name in names if name not in seen]


def lost(tables: Tables, length: int, scale: int) -> float:
    """Share of rows that are not finite, or zero where float64's are not; by indices."""
    return (tables["nonfinite"][length][scale] or 0.0) + (tables["zero"][length][scale] or 0.0)


def error_text(tables: Tables, length: int, scale: int) -> str:
    """`7.9e-4`, or the share of rows that are lost: `✗78%`."""
    share = lost(tables, length, scale)
    if share:
        return f"{LOST}{share:.0%}" if share >= 0.01 else f"{LOST}<1%"
    return short(tables["error"][length][scale])


def short(value: float | None) -> str:
    """An error in two digits: `7.9e-4`."""
    if value is None:
        return MISSING
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")


def lost_from(result: Result, tables: Tables) -> str:
    """The first scale at which some row is lost, at the longest length; a dash for none."""
    for index, scale in enumerate(result["settings"]["scales"]):
        if lost(tables, -1, index):
            return f"{scale:g}"
    return MISSING


def gradient_text(tables: Tables, length: int = -1, scale: int = 0) -> str:
    """The largest relative error of the three gradients, or that one is not finite."""
    if any(tables[f"{name}_gradient_norm"][length][scale] is None for name in GRADIENTS):
        return LOST
    errors = [tables[f"{name}_gradient_error"][length][scale] for name in GRADIENTS]
    known = [error for error in errors if error is not None]
    return short(max(known)) if known else MISSING


def scores_text(entry: Entry, length: int, scale: int) -> str:
    """`−4.8 … 4.84`."""
    low, high = entry["lowest_score"][length][scale], entry["largest_score"][length][scale]
    return f"{_plain(low)} … {_plain(high)}"


def _plain(value: float | None) -> str:
    if value is None:
        return MISSING
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


# Markdown


def stability_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of a stored result, by their names in the pages."""
    filled = {
        f"{name} provenance": provenance(result),
        f"{name} pairs": pair_table(result, "random"),
    }
    for kind in kinds(result):
        filled[f"{name} {kind} ranking"] = ranking_table(result, kind)
        filled[f"{name} {kind} scores"] = score_table(result, kind)
        filled[f"{name} {kind} gradients"] = gradient_table(result, kind)
        filled[f"{name} {kind} norms"] = norm_table(result, kind)
        for dtype in result["settings"]["dtypes"]:
            filled[f"{name} {kind} {dtype}"] = error_table(result, kind, dtype)
    return filled


def provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    settings, text = result["settings"], result["text"]
    read = "" if text is None else f"; text {text['name']} of {source_name(text['source'])}"
    return (
        f"The last {settings['rows']} rows of each length{read}; {machine(result)}, Python "
        f"{result['versions']['python']}, {date_and_commit(result)}, {result['seconds']:.0f} s: "
        f"`{result['command']}`"
    )


def error_table(result: Result, kind: str, dtype: str) -> str:
    """Error of the output at the shortest and the longest length, and where rows are lost."""
    lengths, scales = result["settings"]["lengths"], result["settings"]["scales"]
    ends = [0, -1] if len(lengths) > 1 else [0]
    header = [f"{dtype}, ×{scales[0]:g}"]
    header += [f"{form}, {count(lengths[end])}" for form in FORM_TITLES for end in ends]
    header += [f"{form} lost from ×" for form in FORM_TITLES]

    def cells(entry: Entry) -> list[str]:
        forms = entry["types"][dtype]
        found = [error_text(forms[form], end, 0) for form in FORM_TITLES for end in ends]
        return found + [lost_from(result, forms[form]) for form in FORM_TITLES]

    return _table(header, result, kind, cells)


def score_table(result: Result, kind: str) -> str:
    """Lowest and largest score in float64 at the longest length, variant × scale."""
    settings = result["settings"]
    header = [f"scores, {count(settings['lengths'][-1])} tokens"]
    header += [f"×{scale:g}" for scale in settings["scales"]]
    scales = range(len(settings["scales"]))
    return _table(header, result, kind, lambda entry: [scores_text(entry, -1, at) for at in scales])


def gradient_table(result: Result, kind: str) -> str:
    """The largest error of the three gradients at the longest length and the first scale."""
    settings = result["settings"]
    columns = [(dtype, form) for dtype in settings["dtypes"] for form in FORM_TITLES]
    header = [f"gradients, {count(settings['lengths'][-1])} tokens, ×{settings['scales'][0]:g}"]
    header += [f"{dtype} {form}" for dtype, form in columns]

    def cells(entry: Entry) -> list[str]:
        return [gradient_text(entry["types"][dtype][form]) for dtype, form in columns]

    return _table(header, result, kind, cells)


def norm_table(result: Result, kind: str) -> str:
    """Norms of the three gradients in float64 at the longest length, variant × scale."""
    settings = result["settings"]
    header = [f"query / key / value, {count(settings['lengths'][-1])} tokens"]
    header += [f"×{scale:g}" for scale in settings["scales"]]

    def cells(entry: Entry) -> list[str]:
        norms = [entry[f"{name}_gradient_norm"][-1] for name in GRADIENTS]
        return [" / ".join(map(_two_digits, triple)) for triple in zip(*norms, strict=True)]

    return _table(header, result, kind, cells)


def _table(
    header: Sequence[str], result: Result, kind: str, cells: Callable[[Entry], Sequence[str]]
) -> str:
    """A line a variant."""
    rows = entries(result, kind)
    return table(header, [[f"`{entry['variant']}`", *cells(entry)] for entry in rows])


def _two_digits(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.2g}" if value < 1e4 else short(value)


def ranking_table(result: Result, kind: str) -> str:
    """Which variant loses most, least, or everything: a line for every type and form."""
    settings = result["settings"]
    header = [f"{count(settings['lengths'][-1])} tokens, ×{settings['scales'][0]:g}"]
    header += ["rows lost by", "largest error", "smallest error"]
    lines = []
    for dtype in settings["dtypes"]:
        for form in FORM_TITLES:
            found = {
                entry["variant"]: entry["types"][dtype][form] for entry in entries(result, kind)
            }
            lines.append([f"{dtype}, {form}", *_ranks(found)])
    return table(header, lines)


def _ranks(found: Mapping[str, Tables]) -> list[str]:
    gone = [name for name, tables in found.items() if lost(tables, -1, 0)]
    errors = {
        name: error
        for name, tables in found.items()
        if name not in gone and (error := tables["error"][-1][0]) is not None
    }
    ranked = sorted(errors, key=lambda name: errors[name])
    ends = [f"`{ranked[end]}` {short(errors[ranked[end]])}" for end in (-1, 0)] if ranked else []
    names = ", ".join(f"`{name}`" for name in gone)
    return [names or MISSING, *(ends or [MISSING, MISSING])]


def pair_table(result: Result, kind: str) -> str:
    """One stage changed and nothing else: the errors before and after."""
    settings = result["settings"]
    known = {entry["variant"]: entry for entry in entries(result, kind)}
    dtypes = settings["dtypes"]
    header = [f"{count(settings['lengths'][-1])} tokens, ×{settings['scales'][0]:g}"]
    header += ["from → to", *(f"{dtype} {form}" for dtype in dtypes for form in ("safe", "kernel"))]
    lines = []
    for change, before, after in PAIRS:
        if before in known and after in known:
            cells = [
                f"{_error(known[before], dtype, form)} → {_error(known[after], dtype, form)}"
                for dtype in dtypes
                for form in ("safe", "kernel")
            ]
            lines.append([change, f"`{before}` → `{after}`", *cells])
    return table(header, lines)


def _error(entry: Entry, dtype: str, form: str) -> str:
    return error_text(entry["types"][dtype][form], -1, 0)
