"""What to cite is BibTeX that names the program with its version, and the paper."""

import re

from freeatten_core.results import citation

ENTRY = re.compile(r"@(\w+)\{([\w-]+),\n((?:  \w+ += \{.*\},\n)+)\}\n")


def entries():
    text = citation.bibtex()
    found = {key: (kind, fields) for kind, key, fields in ENTRY.findall(text)}
    assert "\n".join(match[0] for match in ENTRY.finditer(text)) == text  # and nothing else
    return found


def test_the_program_is_cited_with_the_version_that_is_installed(monkeypatch):
    for version in ("1.2.3", None):
        monkeypatch.setattr(citation, "installed_version", lambda version=version: version)
        kind, fields = entries()["freeatten"]
        assert kind == "software"
        assert ("{1.2.3}" in fields) == (version is not None)


def test_the_paper_is_cited_by_its_authors_and_number():
    kind, fields = entries()["gao2025softplus"]
    assert kind == "misc"
    assert "{Gao, Bo and Spratling, Michael W.}" in fields
    assert fields.count("2501.13428") == 2  # its number, and its address
    assert all(line.count("{") == line.count("}") for line in fields.splitlines())
