"""The tokenizer, and documents as arrays of tokens."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from bounds import LIMIT
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import refused
from tokenizers import Tokenizer

from freeatten_core.basics import files
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.data import documents, tokenizer
from freeatten_core.data import prepared as tokens
from freeatten_core.data.tokenizer import (
    BATCH_DOCUMENTS,
    encode,
    encode_all,
    read_tokenizer,
    token_bytes,
    token_texts,
    tokenizer_id,
    train_tokenizer,
)
from freeatten_core.models.catalogue import locate, tokenizer_file

SHIPPED = read_tokenizer(tokenizer_file(*locate("softmax")))
TOKENIZERS = {"tiny": tiny.tokenizer(), "shipped": SHIPPED}

any_tokenizer = pytest.mark.parametrize("letters", TOKENIZERS.values(), ids=TOKENIZERS.keys())
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@any_tokenizer
@given(text=any_text)
@example(text="")
@example(text="\x00\x01\x1b[0m\x7f\x85\u2028\ufeff\uffff")
@example(text="one\r\ntwo\rthree\n\n\n   four\t ")
@example(text="👩‍👩‍👧‍👦🇨🇭 e\u0301 \U0010ffff עברית")
@example(text="def f(x):\n        return x  # ×\n")
def test_any_text_decodes_to_itself_and_bytes_add_up(letters, text):
    ids = encode(letters, text)
    assert letters.decode(ids.tolist()) == text
    assert token_bytes(letters)[ids].sum() == len(text.encode())


@any_tokenizer
@pytest.mark.parametrize("count", [0, 1, BATCH_DOCUMENTS, 2 * BATCH_DOCUMENTS + 3])
def test_many_texts_are_encoded_as_each_alone(letters, count):
    texts = [f"text {number}: naïve 👩‍💻" * (number % 5) for number in range(count)]
    together = list(encode_all(letters, texts))
    assert len(together) == count
    for found, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(found, encode(letters, text))
        assert found.dtype == np.int64


@any_tokenizer
def test_every_token_stands_for_at_least_a_byte(letters):
    lengths = token_bytes(letters)
    assert len(lengths) == letters.get_vocab_size()
    assert lengths.min() == 1
    assert (lengths == 1).sum() == 256


def test_the_vocabulary_is_as_large_as_asked_and_shortens_text():
    text = tiny.prose(100, 400)
    few, many = (train_tokenizer([text], size) for size in (260, 320))
    assert (few.get_vocab_size(), many.get_vocab_size()) == (260, 320)
    assert len(encode(many, text)) < len(encode(few, text)) < len(text)


def test_tokenizers_that_cut_alike_have_the_same_id():
    text = tiny.prose(100, 400)
    one, same = (train_tokenizer([text], 280) for _ in range(2))
    assert tokenizer_id(one) == tokenizer_id(same)
    assert tokenizer_id(one) != tokenizer_id(train_tokenizer([text], 281))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 9))
@example([3, 0, 0, 3, 12], 3)
def test_windows_are_exactly_those_inside_one_document(lengths, size):
    counts = np.asarray(lengths)
    firsts = np.cumsum(counts) - counts
    running, total = tokens.window_starts(counts, size)
    drawn = tokens.window_offsets(counts, running, np.arange(total))
    inside = [first + at for first, n in zip(firsts, lengths, strict=True) for at in range(n)]
    ends = np.repeat(firsts + counts, counts)
    whole = [at for at, end in zip(inside, ends, strict=True) if at + size <= end]
    assert drawn.tolist() == whole


# prepared text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty texts of one's own, an exact repeat, and a near copy of a library module."""
    folder = tiny.write_folder(tmp_path_factory.mktemp("texts") / "mine", files=60)
    (folder / "again.txt").write_text((folder / "000.txt").read_text())
    module = (documents.stdlib_root() / "textwrap.py").read_text()
    (folder / "near.py").write_text(module.replace("self", "this"))
    return folder


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    lines = []
    out = tmp_path_factory.mktemp("prepared") / "corpus"
    found = tokens.prepare([str(folder)], out, vocab_size=300, report=lines.append)
    return out, found, lines


def texts_of(letters, array, lengths):
    parts = np.split(array, np.cumsum(lengths)[:-1])
    return [letters.decode(part.tolist()) for part in parts]


def test_every_document_is_in_exactly_one_part(folder, prepared):
    _, found, _ = prepared
    (source,) = found.sources
    training = texts_of(found.tokenizer, source.tokens, source.lengths)
    validation = texts_of(found.tokenizer, source.validation_tokens, source.validation_lengths)
    expected = [path.read_text() for path in folder.glob("[0-9]*.txt")]
    assert sorted(training + validation) == sorted(expected)
    assert 0 < len(validation) < len(training) / 5


def test_near_copies_are_counted_in_a_line_and_listed_with_what_they_repeat(folder, prepared):
    _, found, lines = prepared
    assert [line for line in lines if "near" in line] == [
        f"{folder}: 60 files kept, 1 dropped as near copies of the standard library "
        "(curve.json will list them)"
    ]
    assert found.about["sources"][0]["near_copies"] == {"near.py": "textwrap.py"}


def test_what_the_text_was_is_kept(folder, prepared):
    _, found, _ = prepared
    (about,) = found.about["sources"]
    assert (about["source"], about["files"], about["dropped"]) == ("mine", 60, 1)
    assert about["tokens"] == len(found.sources[0].tokens)
    kept = sorted(folder.glob("[0-9]*.txt"))
    assert about["bytes"] == sum(path.stat().st_size for path in kept)
    assert about["documents"] == [path.name for path in kept]


def test_prepared_text_reads_back_the_same(prepared):
    out, found, _ = prepared
    again = tokens.load_corpus(out)
    assert again.about == found.about
    assert tokenizer_id(again.tokenizer) == tokenizer_id(found.tokenizer)
    for one, other in zip(again.sources, found.sources, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.validation_lengths, other.validation_lengths)


def test_the_tokenizer_learns_from_training_text_only(folder, tmp_path, monkeypatch):
    seen = []
    train = train_tokenizer

    def watch(texts, size):
        seen.extend(texts)
        return train(seen, size)

    monkeypatch.setattr(tokens, "train_tokenizer", watch)
    found = tokens.prepare([str(folder)], tmp_path / "corpus", vocab_size=300)
    (source,) = found.sources
    assert sorted(seen) == sorted(texts_of(found.tokenizer, source.tokens, source.lengths))


def test_the_tokenizer_learns_equally_from_a_large_and_a_small_source(tmp_path, monkeypatch):
    seen = []
    large = tiny.write_folder(tmp_path / "large", files=100)
    small = tiny.write_folder(tmp_path / "small", files=4)
    share = sum(len(path.read_text()) for path in small.iterdir())
    monkeypatch.setattr(tokens, "TOKENIZER_BYTES", 2 * share)
    monkeypatch.setattr(tokenizer, "TOKENIZER_BYTES", 2 * share)
    monkeypatch.setattr(
        tokens, "train_tokenizer", lambda texts, _: seen.extend(texts) or tiny.tokenizer()
    )
    tokens.prepare([str(large), str(small)], tmp_path / "corpus", vocab_size=300)
    from_small = sum(text in {path.read_text() for path in small.iterdir()} for text in seen)
    assert from_small >= 3
    assert sum(map(len, seen)) <= 3 * share


def test_a_given_tokenizer_is_used(folder, tmp_path):
    found = tokens.prepare(
        [str(folder)], tmp_path / "corpus", vocab_size=999, tokenizer=tiny.tokenizer()
    )
    assert tokenizer_id(found.tokenizer) == tokenizer_id(tiny.tokenizer())


def test_a_tokenizer_of_more_tokens_than_two_bytes_name_is_refused(folder, tmp_path):
    large = tiny.tokenizer()
    large.add_tokens([f"word{at}" for at in range((1 << 16) + 1 - large.get_vocab_size())])
    with pytest.raises(UsageError, match=r"has 65,537 tokens; .* at most 65,536"):
        tokens.prepare([str(folder)], tmp_path / "corpus", vocab_size=999, tokenizer=large)


def test_sources_are_kept_apart(folder, tmp_path):
    other = tiny.write_folder(tmp_path / "other", files=8)
    found = tokens.prepare([str(folder), str(other)], tmp_path / "corpus", vocab_size=300)
    assert [source.name for source in found.sources] == ["mine", "other"]
    assert [len(source.lengths) + len(source.validation_lengths) for source in found.sources] == [
        60,
        8,
    ]


def test_a_source_of_one_document_trains_on_it(tmp_path):
    (tmp_path / "book.txt").write_text(tiny.prose())
    found = tokens.prepare([str(tmp_path / "book.txt")], tmp_path / "corpus", vocab_size=300)
    (source,) = found.sources
    assert len(source.tokens) == len(source.validation_tokens) > 0


def test_nothing_but_near_copies_is_refused(tmp_path):
    copy = tmp_path / "copy.py"
    copy.write_text((documents.stdlib_root() / "textwrap.py").read_text())
    words = [f"every file of {copy} repeats", "(copy.py is a near copy of textwrap.py)"]
    with refused(UsageError, words):
        tokens.prepare([str(copy)], tmp_path / "corpus", vocab_size=300)
    assert tiny.listing(tmp_path) == ["copy.py"]


@pytest.mark.parametrize("room", [0, 100, 3_000], ids=str)
def test_a_full_disk_leaves_nothing(tmp_path, room):
    (tmp_path / "book.txt").write_text(tiny.prose())
    out = tmp_path / "corpus"
    with refused(ContentError, [f"cannot write {out}"]), tiny.disk_full(room):
        tokens.prepare([str(tmp_path / "book.txt")], out, vocab_size=300)
    assert tiny.listing(tmp_path) == ["book.txt"]


def test_a_full_disk_leaves_the_earlier_text(folder, tmp_path):
    other = tiny.write_folder(tmp_path / "other", files=8)
    out = tmp_path / "corpus"
    before = tokens.prepare([str(other)], out, vocab_size=300)
    with refused(ContentError, [f"cannot write {out}"]), tiny.disk_full():
        tokens.prepare([str(folder)], out, vocab_size=300)
    assert tokens.load_corpus(out).about == before.about
    assert tiny.listing(tmp_path) == ["corpus", "other"]


def test_a_folder_of_something_else_is_never_replaced(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with refused(UsageError, [f"{tmp_path} holds other files"]):
        tokens.prepare([str(folder)], tmp_path, vocab_size=300)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_note_beside_prepared_text_is_never_removed(folder, prepared, tmp_path):
    out = copy_of(prepared, tmp_path / "corpus")
    (out / "notes.txt").write_text("years of work")
    with refused(UsageError, [f"{out} holds other files"]):
        tokens.prepare([str(folder)], out, vocab_size=300)
    tokens.remove_corpus(out)
    assert (out / "notes.txt").read_text() == "years of work"


# prepared text that is kept


@pytest.fixture
def kept(prepared, tmp_path, monkeypatch):
    """A function that asks for text that a folder keeps, and must not be prepared again."""
    out = copy_of(prepared, tmp_path / "corpus")
    monkeypatch.setattr(tokens, "_prepare", lambda *_: pytest.fail("prepared again"))

    def ask(source, vocab_size=300):
        return tokens.prepared([str(source)], out, vocab_size=vocab_size)

    return ask


def test_the_same_texts_are_prepared_once(kept, folder, prepared):
    assert kept(folder).about == prepared[1].about


def moved(folder, tmp_path, change):
    """The same texts elsewhere, under the same name, with a change."""
    other = tmp_path / "elsewhere" / "mine"
    shutil.copytree(folder, other)
    change(other)
    return other


def test_texts_may_have_been_moved(kept, folder, tmp_path):
    kept(moved(folder, tmp_path, lambda _: None))


CHANGES = {
    "a byte": lambda folder: (folder / "000.txt").write_text(tiny.prose(0, 120) + "x"),
    "a name": lambda folder: (folder / "000.txt").rename(folder / "zero.txt"),
    "a file more": lambda folder: (folder / "new.txt").write_text(tiny.prose(9)),
    "a file less": lambda folder: (folder / "000.txt").unlink(),
    "another near copy": lambda folder: (folder / "near.py").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_texts_of_the_same_name_are_refused(kept, folder, tmp_path, change):
    other = moved(folder, tmp_path, change)
    with refused(UsageError, ["prepared otherwise", "sha256 of mine was ", "remove it"]):
        kept(other)


def test_another_vocabulary_is_refused(kept, folder):
    with refused(UsageError, ["prepared otherwise: vocab_size was 300 and is 500 now;"]):
        kept(folder, vocab_size=500)


def test_another_source_is_refused(kept, tmp_path):
    other = tiny.write_folder(tmp_path / "other", files=2)
    with refused(UsageError, ["source was mine and is other now;"]):
        kept(other)


def test_another_interpreters_standard_library_is_refused(kept, folder, monkeypatch):
    monkeypatch.setattr(tokens, "stdlib_documents", lambda: documents.prose_documents()[:1])
    with refused(UsageError, ["sha256 of standard_library was"]):
        kept(folder)


def test_another_text_takes_the_place_of_what_may_be_replaced(prepared, tmp_path):
    out = copy_of(prepared, tmp_path / "corpus")
    other = tiny.write_folder(tmp_path / "other", files=8)
    found = tokens.prepared([str(other)], out, vocab_size=300, replace=True)
    assert [source.name for source in found.sources] == ["other"]


def test_text_that_another_call_prepares_is_waited_for_by_the_user(folder, tmp_path):
    out = tmp_path / "corpus"

    def ask():
        return tokens.prepared([str(folder)], out, vocab_size=300)

    with (
        files.locked(out, "busy"),
        ThreadPoolExecutor(1) as other,
        refused(UsageError, [f"another call prepares text in {out}; wait until it has"]),
    ):
        other.submit(ask).result(LIMIT)
    assert tiny.listing(tmp_path) == []


def copy_of(prepared, folder):
    folder.mkdir()
    for path in prepared[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


DAMAGE = {
    "no list": ("corpus.json", lambda _: None),
    "no tokenizer": ("tokenizer.json", lambda _: None),
    "no tokens": ("0.train.tokens", lambda _: None),
    "fewer tokens": ("0.train.tokens", lambda raw: raw[:-2]),
    "no lengths": ("0.validation.lengths.npy", lambda _: None),
    "cut list": ("corpus.json", lambda raw: raw[:-3]),
    "another list": ("corpus.json", lambda _: json.dumps([1, 2]).encode()),
    "cut tokenizer": ("tokenizer.json", lambda raw: raw[:50]),
    "another tokenizer": ("tokenizer.json", lambda _: SHIPPED.to_str().encode()),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_corpus_is_refused(prepared, tmp_path, name, damage):
    folder = copy_of(prepared, tmp_path / "corpus")
    raw = damage((folder / name).read_bytes())
    (folder / name).unlink()
    if raw is not None:
        (folder / name).write_bytes(raw)
    with refused(ContentError, [f"{folder} is not a prepared corpus"]):
        tokens.load_corpus(folder)


def of_an_earlier_version(prepared, folder):
    out = copy_of(prepared, folder)
    about = json.loads((out / "corpus.json").read_text())
    (out / "corpus.json").write_text(json.dumps({"sources": about["sources"]}))
    return out


def test_text_that_an_earlier_version_prepared_is_told_or_replaced(folder, prepared, tmp_path):
    out = of_an_earlier_version(prepared, tmp_path / "corpus")
    with refused(ContentError, [f"{out} is not a prepared corpus: another version wrote it"]):
        tokens.prepared([str(folder)], out, vocab_size=300)
    again = tokens.prepared([str(folder)], out, vocab_size=300, replace=True)
    assert again.about == prepared[1].about


def test_another_folder_is_no_corpus(tmp_path):
    for folder in (tmp_path, tmp_path / "missing", tiny.save(tmp_path / "checkpoint")):
        with refused(ContentError, [f"{folder} is not a prepared corpus"]):
            tokens.load_corpus(folder)


# Tokens as a reader sees them


def bytewise():
    """A tokenizer that has a token for every byte, and no other."""
    return train_tokenizer([""], 256)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a部", ["a", "⟨部 1/3⟩", "⟨部 2/3⟩", "⟨部 3/3⟩"]),
        ("é\n", ["⟨é 1/2⟩", "⟨é 2/2⟩", "\n"]),
        ("🙂", [f"⟨🙂 {at}/4⟩" for at in (1, 2, 3, 4)]),
        ("\ufffd", [f"⟨\ufffd {at}/3⟩" for at in (1, 2, 3)]),
    ],
)
def test_parts_of_a_character_are_named(text, shown):
    byte = bytewise()
    ids = encode(byte, text)
    assert token_texts(byte, ids, 0, len(ids)) == shown
    for at in range(len(ids)):  # told alike where one token is asked for
        assert token_texts(byte, ids, at, at + 1) == shown[at : at + 1]


def test_bytes_that_are_of_no_character_are_in_hex():
    byte = bytewise()
    cut = encode(byte, "部a部")[1:-1]
    shown = ["⟨83⟩", "⟨a8⟩", "a", "⟨e9⟩", "⟨83⟩"]
    assert token_texts(byte, cut, 0, len(cut)) == shown


def test_a_token_across_characters_names_both_parts():
    written = json.loads(bytewise().to_str())
    last, first = (SHIPPED.pre_tokenizer.pre_tokenize_str(each)[0][0] for each in "部长")
    last, first = last[-1], first[0]
    written["model"]["vocab"][last + first] = 256
    written["model"]["merges"] = [[last, first]]
    merged = Tokenizer.from_str(json.dumps(written))
    ids = encode(merged, "部长")
    shown = ["⟨部 1/3⟩", "⟨部 2/3⟩", "⟨部 3/3⟩⟨长 1/3⟩", "⟨长 2/3⟩", "⟨长 3/3⟩"]
    assert token_texts(merged, ids, 0, len(ids)) == shown


@any_tokenizer
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="⟨⟩�")))
def test_tokens_of_whole_characters_are_their_text(letters, text):
    ids = encode(letters, text)
    shown = token_texts(letters, ids, 0, len(ids))
    assert "�" not in "".join(shown)
    for each, index in zip(shown, ids.tolist(), strict=True):
        decoded = letters.decode([index])
        assert each == decoded or "�" in decoded
