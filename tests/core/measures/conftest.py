"""Two models, loaded from their folders, that the tests of measures share."""

import pytest
import tiny

from freeatten_core import load_checkpoint
from freeatten_core.models.rows import Row


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """Of softmax and of lssar:p=15, with one tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    names = ("softmax", "lssar:p=15")
    saved = [tiny.save(folder / str(i), tiny.model(name)) for i, name in enumerate(names)]
    loaded = [load_checkpoint(path) for path in saved]
    return [Row(one.config.variant, one) for one in loaded]
