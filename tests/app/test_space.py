"""`freeatten-viz space`: a folder with all that a Space needs, and a GPU where one is lent."""

import contextvars
import os
import pickle
import re
import runpy
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
import yaml
from bounds import ended
from freeatten_app import hosted, space
from freeatten_app.main import app
from freeatten_app.server import zerogpu
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.jobs import CancelledError, Jobs
from freeatten_app.server.models import Models
from freeatten_app.server.texts import Texts
from freeatten_app.server.zerogpu import ZeroGpuAnalyses
from freeatten_app.site.site import FILE_BYTES
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner
from waiting import job_ended

from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import ignore
from freeatten_core.models.catalogue import shipped
from freeatten_core.models.format import TOKENIZER

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ZEROGPU_TORCH = ("2.9.1", "2.10.0", "2.11.0")
LENGTH = 300


def viz(*words):
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300"})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A Space, and how the command ended."""
    out = tmp_path_factory.mktemp("new") / "deep" / "my-space"
    done = viz("space", "--out", out)
    assert done.exit_code == 0, done.stderr
    return out, done


@pytest.fixture(scope="module")
def files(written):
    out, _ = written
    return {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}


def named(requirements):
    return {each.name: each for each in map(Requirement, requirements)}


# The folder


def test_the_space_is_whole_and_no_file_is_large(files):
    tops = {name.split("/")[0] for name in files}
    packages = {"freeatten_app", "freeatten_core", "freeatten_assets"}
    assert tops == packages | {"LICENSE", "README.md", "app.py", "requirements.txt"}
    models = {name.split("/")[2] for name in files if "/checkpoints/" in name}
    assert models == {*shipped(), TOKENIZER, "text.json"}
    stored = {path.relative_to(assets()).as_posix() for path in assets().rglob("results/**/*.json")}
    assert stored
    assert {f"freeatten_assets/{name}" for name in stored} <= files.keys()
    assert {"freeatten_app/pages/app.html", "freeatten_core/mapview/map.js"} <= files.keys()
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in files)
    assert max(path.stat().st_size for path in files.values()) <= FILE_BYTES
    assert files["LICENSE"].read_text() == (ROOT / "LICENSE").read_text()


def test_the_front_matter_is_what_a_space_reads(files):
    start, front, text = files["README.md"].read_text(encoding="utf-8").split("---\n", 2)
    assert start == ""
    settings = yaml.safe_load(front)
    assert settings["sdk"] == "gradio"
    assert settings["sdk_version"] == metadata.version("gradio")
    assert settings["sdk_version"] in named(PROJECT["dependencies"])["gradio"].specifier
    assert settings["python_version"] in SpecifierSet(PROJECT["requires-python"])
    assert settings["app_file"] in files
    assert settings["license"] == PROJECT["license"].lower()
    assert 0 < len(settings["short_description"]) <= 60
    assert "`freeatten-viz space --out my-space`" in text


def test_requirements_are_the_projects_without_what_a_space_brings(files):
    found = named(files["requirements.txt"].read_text().splitlines())
    wanted = named(PROJECT["dependencies"])
    assert found == {name: wanted[name] for name in wanted if name not in space.PROVIDED}
    assert set(space.PROVIDED) <= set(wanted)
    assert not {"gradio", "pydantic", "spaces", "huggingface-hub"} & found.keys()


@pytest.mark.parametrize("version", [*ZEROGPU_TORCH, "2.13.0"])
def test_the_torch_of_zerogpu_is_admitted(files, version):
    found = named(files["requirements.txt"].read_text().splitlines())
    assert version in found["torch"].specifier


def test_an_installed_project_says_itself_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(space, "library", lambda: tmp_path / "freeatten_core")
    listed = ["torch>=2.8", "gradio>=6.31", 'pytest>=8; extra == "test"']
    monkeypatch.setattr(metadata, "requires", lambda name: listed if name == "freeatten" else None)
    assert space.requirements() == ["torch>=2.8"]


def test_no_folder_of_this_machine_is_told(files, written):
    out, _ = written
    private = [str(ROOT), str(out.parent), sys.prefix]
    for name, path in files.items():
        content = path.read_bytes()
        assert [each for each in private if each.encode() in content] == [], name


def test_the_next_step_is_told_on_standard_error(written):
    out, done = written
    assert done.stdout == ""
    assert re.match(r"wrote \d+ MB; start it with python app.py in ", done.stderr)
    assert f"hf upload OWNER/NAME {out} . --repo-type space" in done.stderr


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "full"), 1)])
def test_what_ends_early_leaves_nothing(error, code, tmp_path, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(space, "requirements", fail)
    assert viz("space", "--out", tmp_path / "space").exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_neither_bytecode_nor_the_space_itself_is_copied(tmp_path, monkeypatch):
    library = tmp_path / "freeatten_core"
    for name in ("module.py", "__pycache__/module.cpython-312.pyc", ".cache/module.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
    monkeypatch.setattr(space, "library", lambda: library)
    monkeypatch.setattr(space, "requirements", lambda: [])
    monkeypatch.setattr(space, "licence", lambda: "")
    assert viz("space", "--out", library / "space").exit_code == 0
    copied = library / "space" / "freeatten_core"
    assert [path.name for path in copied.rglob("*")] == ["module.py"]


# What it runs


def test_the_space_runs_what_is_inside_it(written):
    out, _ = written
    code = (
        "import sys, app, freeatten_app;"
        "print(sorted({'torch', 'gradio'} & set(sys.modules)));"
        "from freeatten_core.basics.assets import assets;"
        "print(freeatten_app.__file__); print(assets())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = ended(
        [sys.executable, "-B", "-c", code],
        cwd=out,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    early, module, folder = done.stdout.splitlines()
    assert early == "[]", "spaces must be imported before torch"
    assert Path(module).parent == out / "freeatten_app"
    assert Path(folder) == out / "freeatten_assets"


@pytest.fixture
def served(monkeypatch):
    """What `hosted.main` would serve, and where."""
    calls = []

    def run(analyses, host, port, login, *, browser):
        analyses.close()
        calls.append((analyses, host, port, login, browser, os.environ.get("SYSTEM")))

    monkeypatch.setattr(hosted, "run", run)
    monkeypatch.setattr(hosted, "check_port", lambda *_: None)
    monkeypatch.setattr(hosted, "spaces_package", lambda: None)
    with patch.dict(os.environ):
        yield calls


def test_a_space_is_served_where_its_environment_says_and_guarded(served, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_SERVER_NAME", "127.0.0.1")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7861")
    hosted.main()
    ((analyses, *where, _),) = served
    assert where == ["127.0.0.1", 7861, None, False]
    assert not analyses.texts.local
    with pytest.raises(UsageError, match="not open to this page"):
        analyses.models.get(str(tmp_path))


def test_without_an_environment_a_space_listens_to_everyone(served, monkeypatch):
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    hosted.main()
    assert served[0][1:3] == ("0.0.0.0", 7860)


def test_hot_reload_which_blocks_imports_is_off(served, monkeypatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    hosted.main()
    assert served[0][-1] is None


def test_a_space_opens_the_repositories_that_it_was_written_for(served, tmp_path):
    assert viz("space", "--out", tmp_path, "--allow", "one/a", "--allow", "two/b").exit_code == 0
    assert "--allow one/a --allow two/b`" in (tmp_path / "README.md").read_text(encoding="utf-8")
    runpy.run_path(str(tmp_path / "app.py"), run_name="__main__")
    assert served[0][0].models.allowed == ("one/a", "two/b")
    hosted.main()
    assert served[1][0].models.allowed == ()


@pytest.mark.parametrize("port", ["", "no", "0", "65536", "-1", "7860 "])
def test_a_port_that_is_none_is_told(served, monkeypatch, capsys, port):
    monkeypatch.setenv("GRADIO_SERVER_PORT", port)
    if not port:  # a variable without a value is as none
        hosted.main()
        assert served[0][2] == 7860
        return
    with pytest.raises(SystemExit) as end:
        hosted.main()
    assert (end.value.code, served) == (2, [])
    assert f"GRADIO_SERVER_PORT is {port!r}; it must be a port" in capsys.readouterr().err


def test_a_missing_spaces_package_is_none_and_a_broken_one_is_told(monkeypatch):
    def missing(name):
        return lambda _: (_ for _ in ()).throw(ModuleNotFoundError("no", name=name))

    monkeypatch.setattr(hosted, "import_module", missing("spaces"))
    assert hosted.spaces_package() is None
    monkeypatch.setattr(hosted, "import_module", missing("requests"))
    with pytest.raises(ModuleNotFoundError):
        hosted.spaces_package()


# A GPU that is lent


class Lender:
    """A `spaces` package on ZeroGPU: what is decorated gets bytes and gives bytes."""

    def __init__(self, error=None):
        self.decorated, self.calls, self.error = [], 0, error

    def GPU(self, function):  # noqa: N802  (what the package calls it)
        self.decorated.append(function)

        def lent(*given):
            self.calls += 1
            if self.error:
                raise self.error
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(given)))))

        return lent


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(zerogpu, "LONG", LENGTH - 1)


def captured(analyses, length=LENGTH, advance=ignore):
    row = analyses.models.row("softmax+yarn")
    tokens = torch.arange(length) % 1000
    try:
        return analyses.capture(row, tokens, None, advance)
    finally:
        analyses.close()


@pytest.fixture(scope="module")
def on_cpu():
    return captured(Analyses(Models((), local=False), Texts(None, local=False), "cpu"))


def assert_same(found, wanted):
    assert (found.name, found.variant, found.tokenizer_id) == (
        wanted.name,
        wanted.variant,
        wanted.tokenizer_id,
    )
    assert found.labels(0, 20) == wanted.labels(0, 20)
    assert list(found.layers) == list(wanted.layers)
    for layer, each in wanted.layers.items():
        torch.testing.assert_close(found.layers[layer].query, each.query)
        torch.testing.assert_close(found.layers[layer].key, each.key)
        torch.testing.assert_close(vars(found.layers[layer].rows), vars(each.rows))


def test_a_long_analysis_is_done_on_the_lent_gpu(on_cpu):
    spaces = Lender()
    analyses = hosted.analyses(spaces)
    assert spaces.decorated == [zerogpu.captured]
    assert isinstance(analyses, ZeroGpuAnalyses)
    assert_same(captured(analyses), on_cpu)
    assert spaces.calls == 1


def test_what_is_not_long_and_all_else_stays_on_the_cpu():
    spaces = Lender()
    analyses = hosted.analyses(spaces)
    assert captured(analyses, LENGTH - 1).length == LENGTH - 1
    assert spaces.calls == 0
    assert analyses.device == "cpu"


def test_without_a_free_gpu_the_cpu_does_it(on_cpu, caplog):
    spaces = Lender(RuntimeError("ZeroGPU quota exceeded"))
    assert_same(captured(hosted.analyses(spaces)), on_cpu)
    assert spaces.calls == 1
    assert "no GPU for 300 tokens, so on the CPU: ZeroGPU quota exceeded" in caplog.text


def test_a_long_analysis_that_is_given_up_ends():
    def stopped(*_):
        raise CancelledError

    with pytest.raises(CancelledError):
        captured(hosted.analyses(Lender()), advance=stopped)


def test_where_the_decorator_does_nothing_the_server_is_as_elsewhere():
    for spaces in (None, SimpleNamespace(GPU=lambda function: function)):
        analyses = hosted.analyses(spaces)
        analyses.close()
        assert type(analyses) is Analyses
        assert analyses.device == "auto"


def test_a_job_sees_the_request_that_began_it():
    request = contextvars.ContextVar("request")
    request.set("a visitor's")
    jobs = Jobs()
    name = jobs.start("analysis", lambda _: {"request": request.get("nobody's")})
    job = jobs.get(name)
    assert job_ended(job).answer == {"request": "a visitor's"}
    jobs.close()
