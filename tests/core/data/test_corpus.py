"""What is evaluated, what is trained on, and what keeps the two apart."""

import hashlib
import io
import json
import os
import threading
from importlib import metadata
from pathlib import Path

import pytest
import tiny
from strategies import refused

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.data import documents as corpus
from freeatten_core.data import packages as packages_module
from freeatten_core.data.documents import Document
from freeatten_core.data.overlap import counted_lines, without_overlap
from freeatten_core.data.packages import (
    Package,
    package_documents,
    packages_from_json,
    packages_to_json,
    trained_on,
    training_documents,
)


def lines_of(width, count, start=0):
    return [f"{index:x<{width}}" for index in range(start, start + count)]


def changed(text, every):
    """The same text with every so many lines written differently."""
    lines = text.splitlines()
    lines[::every] = [f"{line}  # line {n} is mine" for n, line in enumerate(lines[::every])]
    return "\n".join(lines)


def near_copies(documents, held_out):
    kept, dropped = without_overlap(documents, held_out)
    assert [d.name for d in documents if d not in kept] == list(dropped)
    return list(dropped)


# what keeps training and evaluation apart


@pytest.fixture(scope="module")
def stdlib():
    return list(corpus.stdlib_documents())


@pytest.mark.parametrize("name", ["argparse.py", "json/decoder.py", "textwrap.py"])
def test_a_near_copy_of_a_library_module_is_dropped(stdlib, name):
    module = next(document.text for document in stdlib if document.name == name)
    near = Document("vendored/copy.py", changed(module, every=3))
    original = Document("mine.py", Path(__file__).read_text())
    found = without_overlap([near, original], stdlib)
    assert found == ([original], {"vendored/copy.py": name})


@pytest.mark.parametrize(("shared", "dropped"), [(29, []), (30, ["file"]), (100, ["file"])])
def test_a_file_is_dropped_from_30_percent_of_its_lines_on(shared, dropped):
    lines = lines_of(40, shared) + lines_of(40, 100 - shared, start=500)
    held_out = Document("held out", "\n".join(lines_of(40, 100)))
    assert near_copies([Document("file", "\n".join(lines))], [held_out]) == dropped


@pytest.mark.parametrize(("width", "dropped"), [(25, []), (26, ["file"])])
def test_only_lines_above_25_characters_count(width, dropped):
    text = "\n".join(lines_of(width, 10))
    assert near_copies([Document("file", text)], [Document("held out", text)]) == dropped
    assert len(counted_lines(text)) == 10 * len(dropped)


def test_short_lines_do_not_dilute_what_is_shared():
    text = "\n".join(lines_of(40, 10))
    padded = text + "\n" + "\n".join(lines_of(10, 1000))
    assert near_copies([Document("file", padded)], [Document("held out", text)]) == ["file"]


def test_indentation_is_neither_counted_nor_compared():
    text = "\n".join(lines_of(26, 10))
    indented = text.replace("\n", "\n\t    ") + "   "
    assert near_copies([Document("file", indented)], [Document("held out", text)]) == ["file"]
    assert counted_lines("    " + "x" * 25 + "    ") == []


def test_a_file_without_long_lines_is_kept():
    assert near_copies([Document("file", "x = 1\n")], [Document("held out", "x = 1\n")]) == []


def test_lines_of_several_held_out_files_add_up():
    lines = lines_of(40, 100)
    held_out = [Document("a", "\n".join(lines[:15])), Document("b", "\n".join(lines[15:30]))]
    assert near_copies([Document("file", "\n".join(lines))], held_out) == ["file"]


# evaluation texts


def test_the_standard_library_is_named_by_relative_paths(stdlib):
    names = [document.name for document in stdlib]
    assert {"argparse.py", "json/decoder.py", "asyncio/base_events.py"} <= set(names)
    assert all(name.endswith(".py") and not name.startswith(("/", ".")) for name in names)
    root = corpus.stdlib_root()
    assert [d for d in stdlib[:20] if (root / d.name).read_text("utf-8") != d.text] == []


def test_the_standard_library_is_without_tests_and_bundled_tools(stdlib):
    excluded = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"}
    assert [d.name for d in stdlib if excluded & set(d.name.split("/"))] == []


def test_only_texts_of_the_library_itself_count(tmp_path, monkeypatch):
    texts = ["os.py", "json/decoder.py", "test_me.py"]
    others = ["test/os.py", "json/tests/a.py", "idlelib/a.py", "lib2to3/pgen/a.py"]
    others += ["site-packages/torch/a.py", "__pycache__/os.py", "notes.txt"]
    for name in texts + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "binary.py").write_bytes(b"\0\1")
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(corpus, "stdlib_root", lambda: tmp_path)
    walked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walked.append(Path(path)) or scandir(path))
    found = corpus.evaluation_documents("stdlib")
    assert found == [Document(name, "x = 1\n") for name in sorted(texts)]
    assert set(walked) == {tmp_path, tmp_path / "json"}


def test_prose_is_a_document_a_topic():
    documents = corpus.evaluation_documents("prose")
    assert len(documents) > 50
    by_name = {document.name: document.text for document in documents}
    assert 'The "assert" statement' in by_name["pydoc/assert"]
    assert list(by_name) == sorted(by_name)


def test_a_file_is_one_document(tmp_path):
    (tmp_path / "book.txt").write_bytes("naïve\r\nsecond line\n".encode())
    found = corpus.evaluation_documents(str(tmp_path / "book.txt"))
    assert found == [Document("book.txt", "naïve\nsecond line\n")]


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "book.txt").write_text("text")
    assert corpus.evaluation_documents("~/book.txt") == [Document("book.txt", "text")]


def test_a_folder_is_every_text_below_it(tmp_path):
    for name in ("b.md", "a/deep/c.py", "a/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    for name in (".git/config", "a/__pycache__/e.py", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not a text of the user's")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    found = corpus.evaluation_documents(str(tmp_path))
    assert found == [Document(name, f"text of {name}") for name in ("a/d", "a/deep/c.py", "b.md")]


def test_standard_input_is_one_document():
    found = corpus.evaluation_documents("-", io.BytesIO(b"first\nsecond\n"))
    assert found == [Document("standard input", "first\nsecond\n")]


@pytest.mark.parametrize(
    "content",
    [
        b"first\r\nsecond\r\n",
        b"old\rline ends\r",
        b"a\r\r\nb\n\r",
        "\ufeffmarked, na\xefve".encode(),
        b"x" * (corpus.SNIFF_BYTES - 1) + "\xe9".encode() + b"\r\n" * corpus.CHUNK_BYTES,
    ],
    ids=["CRLF", "CR", "mixed", "byte order mark", "across the parts it is read in"],
)
def test_the_same_bytes_are_the_same_text_wherever_they_come_from(tmp_path, content):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    (of_file,) = corpus.evaluation_documents(str(path))
    assert of_file.text == content.decode().replace("\r\n", "\n")
    with path.open(encoding="ascii", newline=None) as stdin:  # a terminal's settings
        (of_stdin,) = corpus.evaluation_documents("-", stdin)
    assert of_stdin.sha256 == of_file.sha256


def test_a_named_pipe_is_a_text(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[b"first\r\nsecond\n"])
    writer.start()
    try:
        found = corpus.evaluation_documents(str(pipe))
    finally:
        writer.join(timeout=10)
    assert found == [Document("pipe", "first\nsecond\n")]


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("text")
    assert corpus.evaluation_documents(str(tmp_path)) == [Document("a.txt", "text")]


@pytest.mark.parametrize(
    "beginning", [b"\x7fELF\0\0", b"\xff\xfe", b"x" * 5000 + b"\xff"], ids=["NUL", "BOM", "later"]
)
def test_a_large_binary_in_a_folder_is_judged_by_its_beginning(tmp_path, beginning, monkeypatch):
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.write(beginning)
        file.truncate(3 << 30)  # takes no room on the disk
    monkeypatch.setattr(corpus, "CHUNK_BYTES", "not an integer")  # reading on is a TypeError
    with refused(ContentError, [str(path), "UTF-8 text"]):
        corpus.evaluation_documents(str(path))
    with refused(UsageError, ["no text in the folder"]):
        corpus.evaluation_documents(str(tmp_path))


ODD_NAMES = [
    "two\nlines.txt",
    "[red]brackets[b].txt",
    "<b>tags<b>&amp;.txt",
    "a+b@c:d,e%20f=g.txt",
    "$(x) `y` 'z' \"q\".txt",
    "na\xefve \u4e2d.txt",
    "-",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_text_may_have_any_name(tmp_path, name):
    (tmp_path / name).write_text("text")
    assert corpus.evaluation_documents(str(tmp_path / name)) == [Document(name, "text")]
    assert corpus.evaluation_documents(str(tmp_path)) == [Document(name, "text")]


def test_a_name_that_is_not_utf_8_is_written_so_that_every_file_can_hold_it(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(path)).write_text("text")
    assert corpus.evaluation_documents(os.fsdecode(path)) == [Document("caf\\xe9.txt", "text")]
    assert training_documents(str(tmp_path))[0] == [Document("caf\\xe9.txt", "text")]


def test_an_empty_path_is_not_the_current_folder():
    for read in (corpus.evaluation_documents, training_documents):
        with refused(UsageError, ["'' is no path"]):
            read("")


UNUSABLE = {
    "binary": (b"\x7fELF\0\0\0", "is binary; it must be UTF-8 text"),
    "empty": (b"", "is empty; it must hold text"),
    "blank": (b" \n\t\n", "is empty; it must hold text"),
    "not UTF-8": ("déjà vu".encode("latin-1"), "is not UTF-8 text: byte 1 is not valid"),
}


@pytest.mark.parametrize(("content", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_file_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with refused(ContentError, [f"{path} {reason}"]):
        corpus.evaluation_documents(str(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "standard input is empty"),
        (b" \n", "standard input is empty"),
        (b"\x7fELF\0\0", "standard input is binary"),
        (b"caf\xe9", "standard input is not UTF-8 text: byte 3 is not valid"),
        (b"x" * 9000 + b"\xc3", "standard input is not UTF-8 text: byte 9000 is not valid"),
    ],
)
def test_unusable_standard_input_is_named_with_the_reason(text, reason):
    with refused(ContentError, [reason]):
        corpus.evaluation_documents("-", io.BytesIO(text))


def test_a_standard_input_that_is_closed_is_named():
    with refused(UsageError, ["standard input is closed; pipe a text into it"]):
        corpus.evaluation_documents("-", None)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file.txt").write_text("text")
    monkeypatch.setattr(Path, "open", denied)  # root may read anything
    with refused(ContentError, [f"cannot read {tmp_path / 'file.txt'}: Permission denied"]):
        corpus.evaluation_documents(str(tmp_path / "file.txt"))


def test_a_missing_path_is_named_with_what_is_possible(tmp_path):
    with refused(UsageError, [f"no text at {tmp_path / 'nothing'}", "stdlib, prose", "-"]):
        corpus.evaluation_documents(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("stdlb", "stdlib"), ("PROSE", "prose"), ("boks", "books"), ("notes.TXT", "Notes.txt")],
)
def test_a_mistyped_text_is_told_what_was_meant(tmp_path, monkeypatch, typed, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "Notes.txt").write_text("text")
    with refused(UsageError, [f"no text at {typed}", f"did you mean {meant!r}?"]):
        corpus.evaluation_documents(typed)


def test_a_mistyped_training_text_is_told_what_can_be_trained_on():
    with refused(UsageError, ["a folder, or packages", "did you mean 'packages'?"]):
        training_documents("pakages")


def test_a_folder_without_text_is_named(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    with refused(UsageError, [f"no text in the folder {tmp_path}"]):
        corpus.evaluation_documents(str(tmp_path))


def test_the_manifest_changes_with_content_and_with_nothing_else():
    files = [Document("a", "one"), Document("b", "two")]
    found = corpus.manifest(files)
    assert found == {
        "a": hashlib.sha256(b"one").hexdigest(),
        "b": hashlib.sha256(b"two").hexdigest(),
    }
    assert corpus.manifest(reversed(files)) == found
    assert corpus.manifest([Document("a", "one "), files[1]]) != found


# training texts


def test_exact_repeats_are_read_once(tmp_path):
    for name, text in (("b.txt", "same"), ("a.txt", "same"), ("c.txt", "other")):
        (tmp_path / name).write_text(text)
    found, packages = training_documents(str(tmp_path))
    assert found == [Document("a.txt", "same"), Document("c.txt", "other")]
    assert packages == []


def install(site, name, fields, files):
    """A distribution as pip leaves it."""
    info = site / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    header = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.2\n"
    (info / "METADATA").write_text(header + fields + "\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file, text in files.items():
        if text is not None:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    found = metadata.distributions
    monkeypatch.setattr(
        packages_module.metadata, "distributions", lambda: found(path=[str(folder)])
    )
    return folder


def test_packages_are_their_python_source_without_tests(site, monkeypatch):
    monkeypatch.setattr(packages_module, "MAX_FILE_BYTES", 100)
    text = {"beta/__init__.py": "b = 1\n", "beta/core.py": "c = 2\n", "beta/tests/a.py": "t = 3\n"}
    text |= {"beta/table.py": "x = 4\n" * 50, "beta/data.txt": "data", "../../bin/tool.py": "t\n"}
    text |= {"beta/removed.py": None, "beta/empty.py": ""}
    install(site, "Beta", "License-Expression: MIT", text)
    install(site, "alpha", "License-Expression: Apache-2.0", {"alpha.py": "a = 1\n"})
    install(site, "nothing", "License-Expression: MIT", {"nothing.so": "binary"})
    found, packages = training_documents("packages")
    assert found == [
        Document("alpha.py", "a = 1\n"),
        Document("beta/__init__.py", "b = 1\n"),
        Document("beta/core.py", "c = 2\n"),
    ]
    assert packages == [
        Package("alpha", "1.2", "Apache-2.0", ("alpha",)),
        Package("Beta", "1.2", "MIT", ("beta",)),
    ]


def test_no_installed_source_is_refused(site):
    site.mkdir()
    with refused(UsageError, ["no Python source in the installed packages"]):
        training_documents("packages")


BSD = "Classifier: License :: OSI Approved :: BSD License"
LONG = "License: Permission is hereby granted, free of charge, to any person obtaining a copy"
LICENCES = {
    "expression": ("License-Expression: MIT OR Apache-2.0\nLicense: old", "MIT OR Apache-2.0"),
    "field": (f"License: BSD-3-Clause\n{BSD}", "BSD-3-Clause"),
    "first line": ("License: MIT License\n        Copyright me", "MIT License"),
    "classifier": (f"Classifier: Topic :: Text\n{BSD}", "BSD License"),
    "classifiers": (f"{BSD}\nClassifier: License :: CC0", "BSD License; CC0"),
    "whole text": (f"{LONG}\n{BSD}", "BSD License"),
    "whole text only": (LONG, LONG.removeprefix("License: ")[:60]),
    "none": ("", "not stated"),
}


@pytest.mark.parametrize(("fields", "licence"), LICENCES.values(), ids=LICENCES.keys())
def test_the_licence_is_one_short_line(site, fields, licence):
    install(site, "alpha", fields, {"alpha.py": "a = 1\n"})
    assert training_documents("packages")[1][0].licence == licence


def test_every_package_installed_here_has_a_licence_line():
    packages = {package.name: package for package in package_documents()[1]}
    assert packages["numpy"].modules == ("numpy",)
    assert packages["numpy"].version == metadata.version("numpy")
    assert [p for p in packages.values() if not p.licence or "\n" in p.licence] == []


PACKAGES = [
    Package("Alpha-Tools", "1", "MIT", ("alpha", "alpha_data")),
    Package("six", "1", "MIT", ("six",)),
]


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("venv/lib/python3.11/site-packages/alpha/deep/core.py", "Alpha-Tools"),
        ("venv/lib/python3.11/site-packages/alpha_data/a.json", "Alpha-Tools"),
        ("venv/lib/python3.11/site-packages/alpha", "Alpha-Tools"),
        ("usr/lib/python3/dist-packages/six.py", "six"),
        ("venv/lib/python3.11/site-packages/alphabet/core.py", None),
        ("venv/lib/python3.11/site-packages/other.py", None),
        ("venv/lib/python3.11/site-packages", None),
        ("home/alpha/core.py", None),
        ("home/six.py", None),
    ],
)
def test_a_path_belongs_to_the_package_that_it_is_installed_in(tmp_path, path, package):
    assert trained_on(tmp_path / path, PACKAGES) == package


def test_packages_survive_json():
    entries = json.loads(json.dumps(packages_to_json(PACKAGES)))
    assert packages_from_json(entries) == PACKAGES


def test_a_document_is_told_by_its_text():
    one, other = tiny.documents(2)
    assert one.sha256 == hashlib.sha256(one.text.encode()).hexdigest() != other.sha256
