"""A comparison by several processes is that of one."""

import json
from pathlib import Path

import pytest
import tiny
from ranks import run_ranks
from strategies import refused

from freeatten_core import load_checkpoint
from freeatten_core.basics.distributed import Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.measures.comparison import compare
from freeatten_core.measures.request import Request
from freeatten_core.models.rows import Row

COMPARING = """
import json, sys
from pathlib import Path
import torch
import conftest
sys.path.insert(0, sys.argv[3])
from test_shared_comparison import asked
from freeatten_core.basics.distributed import joined_ranks, started_ranks
from freeatten_core.measures.comparison import compare

torch.set_num_threads(1)
folder, out = map(Path, sys.argv[1:3])
ranks = started_ranks()
with joined_ranks(ranks, torch.device("cpu")):
    result = compare(asked(folder, ranks)).result
    (out / f"{ranks.index}.json").write_text(json.dumps(result))
"""


def asked(folder, ranks):
    """Three texts, so that the two ranks have unlike shares, with every control."""
    checkpoint = load_checkpoint(folder)
    return Request(
        rows=[Row(checkpoint.config.variant, checkpoint)],
        lengths=(16, 32, 64),
        documents=tiny.documents(6),
        source="my texts",
        command="freeatten compare",
        texts=3,
        control="swap",
        by_position=True,
        ranks=ranks,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("checkpoints") / "lssar", tiny.model("lssar"))


def numbers(value):
    """Every number of a result, in its order, but for times."""
    if isinstance(value, dict):
        return [each for key in value if key != "seconds" for each in numbers(value[key])]
    if isinstance(value, list):
        return [each for item in value for each in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_two_ranks_have_the_result_of_one_process(folder, tmp_path):
    ended = run_ranks(COMPARING, [folder, tmp_path, Path(__file__).parent])
    assert [code for code, _ in ended] == [0, 0], ended
    expected = compare(asked(folder, Ranks())).result
    row = expected["variants"][0]
    assert {"delta", "sliding_delta", "window_delta", "swap_delta"} <= set(row)
    for rank in (0, 1):
        result = json.loads((tmp_path / f"{rank}.json").read_text())
        assert numbers(result) == pytest.approx(numbers(expected), abs=1e-6, nan_ok=True)


def test_a_rank_without_a_text_is_refused(folder):
    with refused(UsageError, ["3 texts are too few for 4 ranks", "--texts"]):
        compare(asked(folder, Ranks(0, 4)))
