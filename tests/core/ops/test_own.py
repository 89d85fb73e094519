"""A Python function in the place of the stages: checked, computed, and never run unasked."""

import json

import pytest
import tiny
import torch

from freeatten_core import Variant, attention, attention_weights, row_statistics
from freeatten_core.analysis import AttentionMap, capture
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.bench.rounds import timed_variants
from freeatten_core.data.prepared import prepare
from freeatten_core.models.checkpoint import load_checkpoint
from freeatten_core.models.rows import load_rows, modified_row
from freeatten_core.ops.definitions import neighbours, own_function
from freeatten_core.training.run import train
from freeatten_core.training.state import state_path
from freeatten_core.variants.stages import OwnFunctionName

SOFTMAX = """
import torch

def written(query, key, value):
    score = query @ key.mT / query.shape[-1] ** 0.5
    hidden = torch.ones(score.shape[-2:], dtype=torch.bool).triu(1)
    return score.masked_fill(hidden, -torch.inf).softmax(-1) @ value
"""


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})
    monkeypatch.setattr(neighbours, "_kept", {})


@pytest.fixture
def file(tmp_path):
    """Writes a file of functions and gives its path."""

    def write(source=SOFTMAX, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return path

    return write


@pytest.fixture
def written(file):
    return own_function.allow(Variant.parse(f"{file()}:written"))


def vectors(heads=2, length=20, dim=8):
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(2, heads, length, dim, generator=draw) for _ in range(3)]


# Its name


@pytest.mark.parametrize("name", ["mine.py:f", "a/mine.py:f+yarn", "softmax+swap:to=a/b.py:_f1"])
def test_a_name_parses_back_to_the_same_variant(name):
    variant = Variant.parse(name)
    assert str(variant) == name
    assert Variant.parse(str(variant)) == variant


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mine.py", "write the file and the function in it, as in my_file.py:my_attention"),
        ("mine.py:2", "write the file and the function"),
        ("mine.py:f:p=3", "does not take 'p'"),
        ("mine.py:f+window", "window reaches into the attention, and mine.py:f is its own"),
        ("softmax+rerope+swap:to=mine.py:f", "rerope reaches into the attention"),
        ("mine.py:f+swap:to=mine.py:f", "puts in the variant that is there already"),
    ],
)
def test_what_a_name_cannot_be_is_told(name, told):
    with pytest.raises(UsageError) as error:
        Variant.parse(name)
    assert told in str(error.value)


def test_a_function_and_stages_exclude_each_other():
    with pytest.raises(UsageError, match="takes the place of all stages"):
        Variant(positivity="softplus", function="mine.py:f")


def test_the_path_of_the_file_is_not_kept(file):
    path = file()
    assert str(own_function.allow(Variant.parse(f"{path}:written+yarn"))) == "mine.py:written+yarn"
    swapped = own_function.allow(Variant.parse(f"softmax-ls+swap:to={path}:written"))
    assert str(swapped) == "softmax-ls+swap:to=mine.py:written"


# Nothing runs unasked


def test_a_file_runs_only_when_it_is_allowed(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    file(f"open({str(mark)!r}, 'w')" + SOFTMAX)
    variant = Variant.parse("mine.py:written")
    with pytest.raises(UsageError, match="Python code, which runs only when the command names"):
        attention(*vectors(), variant)
    assert not mark.exists()
    own_function.allow(variant)
    assert mark.exists()


def test_modifiers_that_a_page_sends_run_nothing(file, tmp_path):
    mark = tmp_path / "mark"
    path = file(f"open({str(mark)!r}, 'w')" + SOFTMAX)
    row = modified_row(load_checkpoint(tiny.save(tmp_path / "model")), f"+swap:to={path}:written")
    model = row.checkpoint.model.with_modifiers(row.variant, 16)
    with pytest.raises(UsageError, match="Python code"):
        model(torch.zeros(1, 8, dtype=torch.long))
    assert not mark.exists()


def test_a_checkpoint_runs_no_code_unless_its_file_is_named(file, tmp_path):
    path = file()
    variant = own_function.allow(Variant.parse(f"{path}:written"))
    folder = tiny.save(tmp_path / "model", tiny.model(str(variant)))
    own_function._allowed.clear()
    with pytest.raises(UsageError, match=r"write --checkpoint .*model@mine.py:written"):
        load_checkpoint(folder)
    (row,) = load_rows([], [f"{folder}@{path}:written"])
    assert str(row.variant) == "mine.py:written"
    (row,) = load_rows([], [f"{folder}@{path}:written+logn"])
    assert str(row.variant) == "mine.py:written+logn"


def test_a_checkpoint_wants_the_function_that_it_was_trained_with(file, tmp_path):
    variant = own_function.allow(Variant.parse(f"{file()}:written"))
    folder = tiny.save(tmp_path / "model", tiny.model(str(variant)))
    own_function._allowed.clear()
    with pytest.raises(ContentError, match=r"was trained with another mine\.py:written"):
        load_rows([], [f"{folder}@{file(SOFTMAX + '# changed')}:written"])


def test_a_function_is_not_put_on_other_weights_unasked(file, tmp_path):
    folder = tiny.save(tmp_path / "model")
    with pytest.raises(UsageError, match=r"computes softmax, not mine.py:written.*\+swap:to="):
        load_rows([], [f"{folder}@{file()}:written"])


def test_a_checkpoint_cannot_ask_for_a_file_by_a_swap(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    file(f"open({str(mark)!r}, 'w')" + SOFTMAX)
    folder = tiny.save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["variant"] = "softmax+swap:to=mine.py:written"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="Python code"):
        load_checkpoint(folder).model(torch.zeros(1, 8, dtype=torch.long))
    assert not mark.exists()


# What is refused


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(query, key, value): return query @ key", "failed on query (2, 2, 24, 16)"),
        ("def f(query, key, value): return value[..., :3]", "returned (2, 2, 24, 3)"),
        ("def f(query, key, value): return 1", "returned int"),
        ("def f(query, key, value): return value / 0", "not finite"),
        ("def f(query, key, value): return value.detach()", "has no gradient"),
        ("import torch\ndef f(q, k, v): return v * torch.rand(())", "called again"),
        ("def f(q, k, v): return (q @ k.mT).softmax(-1) @ v", "not causal"),
        ("def f(q, k, v): return v.mean(1, keepdim=True).expand(v.shape)", "mixes heads or texts"),
        ("def f(q, k, v): return v.mean(0, keepdim=True).expand(v.shape)", "mixes heads or texts"),
        ("f = 3", "has no function f"),
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("raise SystemExit", "does not run: SystemExit"),
        ("def f(", "does not run: SyntaxError"),
    ],
)
def test_what_is_no_attention_is_told(file, source, told):
    with pytest.raises(UsageError) as error:
        own_function.allow(Variant.parse(f"{file(source)}:f"))
    assert told in str(error.value)
    assert own_function._allowed == {}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(q, k, v):\n    return q @ k", "(mine.py, line 2)"),
        (
            "import torch\n\n1 / 0",
            "does not run: ZeroDivisionError: division by zero (mine.py, line 3)",
        ),
        ("def f(q, k, v):\n    raise SystemError", "SystemError (mine.py, line 2)"),
        ("import beside_it\nf = beside_it.f", "(beside_it.py, line 2)"),
        ("import torch\ndef f(q, k, v):\n    return torch.cat(3)", "(mine.py, line 3)"),
    ],
)
def test_an_error_names_the_file_and_the_line(file, source, told):
    file("def f(q, k, v):\n    return q @ k", "beside_it.py")
    with pytest.raises(UsageError) as error:
        own_function.allow(Variant.parse(f"{file(source)}:f"))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("writen", "did you mean 'written'?"),
        ("zzz", "known: written"),
        ("Tensor", "known: written"),
    ],
)
def test_a_function_that_is_not_there_suggests_those_that_are(file, wanted, told):
    source = "from torch import Tensor as T\n" + SOFTMAX
    with pytest.raises(UsageError) as error:
        own_function.allow(Variant.parse(f"{file(source)}:{wanted}"))
    assert f"has no function {wanted}; {told}" in str(error.value)


# Files beside it


HELPER = "def root(dim): return dim ** 0.5 * {factor}\n"
AT_ONCE = "from root import root\n" + SOFTMAX.replace(
    "query.shape[-1] ** 0.5", "root(query.shape[-1])"
)
WHEN_CALLED = SOFTMAX.replace("query.shape[-1] ** 0.5", "__import__('root').root(query.shape[-1])")


@pytest.mark.parametrize("source", [AT_ONCE, WHEN_CALLED])
def test_a_file_imports_its_own_neighbour_and_nobody_elses(file, source):
    import sys

    variants = []
    for name, factor in (("one", 1), ("two", 2)):
        file(HELPER.format(factor=factor), f"{name}/root.py")
        path = file(source, f"{name}/{name}.py")
        variants.append(own_function.allow(Variant.parse(f"{path}:written")))
    query, key, value = vectors()
    for factor, variant in zip((1, 2), variants, strict=True):
        expected = attention(query / factor, key, value, "softmax")
        torch.testing.assert_close(attention(query, key, value, variant), expected)
    assert "root" not in sys.modules
    assert str(path.parent) not in sys.path


def test_a_neighbour_belongs_to_what_a_checkpoint_was_trained_with(file, tmp_path, monkeypatch):
    beside = file(HELPER.format(factor=1), "root.py")
    variant = own_function.allow(Variant.parse(f"{file(AT_ONCE)}:written"))
    assert own_function.described(variant)["function"]["beside"] == {
        "root.py": HELPER.format(factor=1)
    }
    folder = tiny.save(tmp_path / "model", tiny.model(str(variant)))
    beside.write_text(HELPER.format(factor=3.0))
    monkeypatch.setattr(own_function, "_allowed", {})
    monkeypatch.setattr(neighbours, "_kept", {})
    with pytest.raises(ContentError, match=r"was trained with another mine\.py:written"):
        load_rows([], [f"{folder}@{file(AT_ONCE)}:written"])


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none\.py"):
        own_function.allow(Variant.parse(f"{tmp_path / 'none.py'}:f"))


def test_two_files_of_one_name_are_told_apart(file):
    own_function.allow(Variant.parse(f"{file()}:written"))
    same = file(name="same/mine.py")
    assert str(own_function.allow(Variant.parse(f"{same}:written"))) == "mine.py:written"
    other = file(SOFTMAX + "# another", "other/mine.py")
    with pytest.raises(UsageError, match=r"two files give mine\.py:written; rename one"):
        own_function.allow(Variant.parse(f"{other}:written"))


def test_a_function_is_not_timed():
    with pytest.raises(UsageError, match="only the named variants can be timed"):
        timed_variants("softmax,mine.py:f")


def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_it(file, tmp_path, monkeypatch):
    own_function.allow(Variant.parse(f"{file()}:written"))
    file(SOFTMAX + "# another", "here/mine.py")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="two files give"):
        load_rows([Variant.parse("softmax+swap:to=mine.py:written")], [])


# What is computed


def test_without_gradients_a_head_at_a_time_is_the_same(written):
    with torch.no_grad():
        apart = attention(*vectors(4), written)
    torch.testing.assert_close(apart, attention(*vectors(4), written))


def test_weights_and_statistics_are_those_of_the_formula(written):
    query, key, _ = vectors()
    torch.testing.assert_close(
        attention_weights(query, key, written, rows=slice(3, 9)),
        attention_weights(query, key, "softmax", rows=slice(3, 9)),
    )
    found, expected = (row_statistics(query, key, each) for each in (written, "softmax"))
    for name in ("entropy", "largest", "first", "sum_squares", "mean_distance", "row_sum"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(q, k, v): return (q * k).sum(-1, keepdim=True) * v", "weights below 0"),
        ("def f(q, k, v): return v / v.norm(dim=-1, keepdim=True)", "not a weighted sum"),
    ],
)
def test_what_has_no_weights_is_told_and_is_still_computed(file, source, told):
    variant = own_function.allow(Variant.parse(f"{file(source)}:f"))
    query, key, value = vectors()
    assert attention(query, key, value, variant).isfinite().all()
    with pytest.raises(UsageError, match=told):
        row_statistics(query, key, variant)


def test_a_text_too_long_for_its_weights_is_told(written, monkeypatch):
    monkeypatch.setattr(own_function, "MOST_MAPPED", 16)
    query, key, _ = vectors(length=17)
    with pytest.raises(UsageError, match=r"the text has 17 tokens; .* up to 16"):
        row_statistics(query, key, written)


@pytest.mark.parametrize("modifiers", ["", "+logn"])
def test_a_capture_and_its_map_are_those_of_the_formula(written, tmp_path, modifiers):
    tokens = torch.arange(40) % 50
    name = f"{written}{modifiers}", f"softmax{modifiers}"
    found, expected = (
        capture(
            load_checkpoint(tiny.save(tmp_path / each, tiny.model(each.partition("+")[0]))),
            tokens,
            variant=Variant.parse(each),
        )
        for each in name
    )
    assert str(found.variant) == name[0]
    torch.testing.assert_close(found.statistics(1).entropy, expected.statistics(1).entropy)
    maps = [AttentionMap.of(each, 1, 1) for each in (found, expected)]
    weights = [each.weights(5, 40, 0, 40) for each in maps]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
    payload = maps[0].to_payload().weights(5, 40, 0, 40)
    torch.testing.assert_close(torch.from_numpy(payload).float(), weights[1], rtol=2e-3, atol=1e-4)


# Training


@pytest.fixture
def corpus(tmp_path):
    texts = tiny.write_folder(tmp_path / "texts")
    return prepare([str(texts)], tmp_path / "corpus", vocab_size=300)


def run(variant, corpus, out, **options):
    train(variant, corpus, out, tiny.RECIPE, device=torch.device("cpu"), command="train", **options)


def test_a_function_trains_as_the_formula_does(written, corpus, tmp_path):
    run(written, corpus, tmp_path / "own")
    run(Variant(), corpus, tmp_path / "named")
    found, expected = (load_checkpoint(tmp_path / name).curve() for name in ("own", "named"))
    for one, other in zip(found["curve"], expected["curve"], strict=True):
        assert one["validation"] == pytest.approx(other["validation"], abs=1e-3)
    assert found["function"]["source"] == SOFTMAX


def test_the_card_shows_the_file(file, corpus, tmp_path):
    source = SOFTMAX + "# ```` in a comment\n"
    run(own_function.allow(Variant.parse(f"{file(source)}:written")), corpus, tmp_path / "own")
    card = (tmp_path / "own" / "README.md").read_text()
    assert f"\n`````python\n{source.rstrip()}\n`````\n" in card


def test_the_card_shows_what_the_file_imported(file, corpus, tmp_path):
    file(HELPER.format(factor=1), "root.py")
    run(own_function.allow(Variant.parse(f"{file(AT_ONCE)}:written")), corpus, tmp_path / "own")
    card = (tmp_path / "own" / "README.md").read_text()
    assert "It imported `root.py` from beside it" in card
    assert f"```python\n{HELPER.format(factor=1).rstrip()}\n```" in card


def test_a_run_goes_on_with_the_same_function_alone(file, corpus, tmp_path):
    out = tmp_path / "own"

    def stop(progress):
        if progress.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(own_function.allow(Variant.parse(f"{file()}:written")), corpus, out, report=stop)
    assert state_path(out).exists()
    own_function._allowed.clear()
    changed = own_function.allow(Variant.parse(f"{file(SOFTMAX + '# changed')}:written"))
    with pytest.raises(UsageError, match="is the state of another run"):
        run(changed, corpus, out)
    own_function._allowed.clear()
    run(own_function.allow(Variant.parse(f"{file()}:written")), corpus, out)
    assert load_checkpoint(out).config.variant.computes == OwnFunctionName("mine.py:written")
