"""A server starts sooner, and has the same Gradio."""

import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import jinja2
import pytest
from bounds import LIMIT
from freeatten_app.server import environment, gradio_import
from freeatten_app.server.analyses import Analyses

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = """
import sys; sys.path.insert(0, "tests"); import conftest
from contextlib import nullcontext
from hashlib import sha256
from freeatten_app.server import environment, gradio_import
environment.settle()
with environment.direct(), gradio_import.shorter() if "shorter" in sys.argv else nullcontext():
    import gradio
docs = [
    (name, event, getattr(each, str(event)).__doc__)
    for name, each in sorted(vars(gradio.components).items())
    for event in getattr(each, "EVENTS", ())
]
told = sum(f"when the {name}" in doc or f"the {name}" in doc for name, _, doc in docs)
print(len(docs), told, sha256(repr(docs).encode()).hexdigest())
"""


def described(*words):
    """The docstrings of the events of all components, in a process of its own."""
    command = [sys.executable, "-c", DESCRIBED, *words]
    return subprocess.check_output(command, cwd=ROOT, text=True, timeout=LIMIT).split()


def test_each_event_still_has_the_docstring_of_its_component():
    number, naming, digest = described("shorter")
    assert int(number) > 200
    assert int(naming) > 100
    assert described() == [number, naming, digest]


def test_only_while_gradio_is_imported_no_class_has_a_file():
    with gradio_import.shorter(), pytest.raises(OSError, match="not looked for"):
        inspect.getfile(Analyses)
    assert Path(inspect.getfile(Analyses)).name == "analyses.py"
    with pytest.raises(ImportError), gradio_import.shorter():
        raise ImportError
    assert Path(inspect.getfile(Analyses)).name == "analyses.py"


def test_a_template_is_compiled_once_within_and_each_time_afterwards():
    compiled = jinja2.Environment.compile
    surroundings = jinja2.Environment()
    with gradio_import.shorter():
        assert surroundings.compile("a {{ b }}") is surroundings.compile("a {{ b }}")
        assert surroundings.compile("a {{ c }}") is not surroundings.compile("a {{ b }}")
        assert surroundings.from_string("a {{ b }}").render(b=1) == "a 1"
        assert surroundings.from_string("a {{ b }}").render(b=2) == "a 2"
    assert jinja2.Environment.compile is compiled


@pytest.mark.parametrize("before", [{}, {"SSL_CERT_FILE": "/mine.pem", "SSL_CERT_DIR": "/mine"}])
def test_the_users_certificates_are_back_whatever_happened(before):
    with patch.dict(os.environ, before):
        if not before:
            for name in gradio_import.CERTIFICATES:
                os.environ.pop(name, None)
        for failure in (None, ImportError):
            try:
                with gradio_import.shorter():
                    assert "SSL_CERT_FILE" not in os.environ
                    if failure:
                        raise failure
            except ImportError:
                assert failure
            left = {
                name: os.environ[name] for name in gradio_import.CERTIFICATES if name in os.environ
            }
            assert left == before


# Collection of garbage


@pytest.fixture
def thawed():
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_no_garbage_is_looked_for_while_a_server_starts_nor_later_among_what_that_made():
    made = []
    with environment.without_collection():
        assert not gc.isenabled()
        made.append({})
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert not any(each is made for each in gc.get_objects())


def test_a_start_that_fails_leaves_the_collection_on():
    with pytest.raises(ImportError), environment.without_collection():
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
