"""`freeatten kernels`: a folder that `kernels` loads, and that computes what the library does."""

import ast
import base64
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
import torch
from bounds import ended
from freeatten_cli import hub_kernel
from interpreter import quickened
from needs_triton import require_kernels
from terminal import freeatten

from freeatten_core import attention, row_statistics
from freeatten_core.ops.definitions import staged

VARIANTS = ("softmax", "lssa", "lssar:p=3", "lssar:p=15", "sigmoid")
LOAD = '''
import importlib.util, json, pathlib, sys

def loaded(variant):
    """A kernel from its folder, as `kernels` loads it: under the name in its metadata."""
    name = json.loads((variant / "metadata.json").read_text())["id"]
    spec = importlib.util.spec_from_file_location(name, variant / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
'''
ALONE = """
for name in ("numpy", "filelock", "freeatten_core", "triton"):
    sys.modules[name] = None  # an import of it fails
kernel = loaded(pathlib.Path(sys.argv[1]))
import torch
query, key, value = torch.randn(3, 1, 4, 40, 16, requires_grad=True).unbind()
kernel.attention(query, key[:, :2], value[:, :2], "lssar:p=15", enable_gqa=True).sum().backward()
print(kernel.row_statistics(query.detach(), key.detach(), "lssa").entropy.shape)
"""
"""A process that has PyTorch and nothing else of what this project needs."""


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("kernels") / "attention-kernel"
    done = freeatten("kernels", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert "get_local_kernel" in done.out
    return out


@pytest.fixture(scope="session")
def kernels(written):
    """Both variants, loaded side by side with the library; and what takes them away again.

    Of the session, as a process registers operators once: worksteal may leave this file and return.
    """
    names: dict[str, object] = {}
    exec(LOAD, names)
    before = set(sys.modules)
    yield {name: names["loaded"](written / "build" / f"torch-{name}") for name in ("cuda", "cpu")}
    for name in set(sys.modules) - before:
        if name.startswith("freeatten_c") and not name.startswith("freeatten_core"):
            del sys.modules[name]


def variants(written: Path) -> list[Path]:
    return sorted((written / "build").iterdir())


def tensors(dtype=torch.float32, length=70):
    draw = torch.Generator().manual_seed(0)
    shapes = (1, 4, length, 16), (1, 2, length, 16), (1, 2, length, 16)
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


def with_gradients(attend, inputs, variant):
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    output = attend(*leaves, variant, enable_gqa=True)
    mixture = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    return output.detach(), *torch.autograd.grad(output, leaves, mixture)


# The folder


def test_a_variant_for_each_back_end_a_benchmark_and_a_card(written):
    assert [each.name for each in variants(written)] == ["torch-cpu", "torch-cuda"]
    names = {path.name for path in written.iterdir()}
    assert names == {"README.md", "LICENSE", "benchmarks", "build"}
    card = (written / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: kernels\n")
    assert "freeatten kernels --out attention-kernel" in card
    assert "8,192 tokens, causal" in card  # the stored benchmark
    assert str(written.parent) not in card


def test_the_metadata_names_each_build_and_digests_every_file(written):
    seen = set()
    for variant in variants(written):
        about = json.loads((variant / "metadata.json").read_text(encoding="utf-8"))
        assert about["name"] == "freeatten"
        assert about["backend"] == {"type": variant.name.removeprefix("torch-")}
        assert re.fullmatch(r"freeatten_(cpu|cuda)_[0-9a-f]{10}", about["id"])
        files = {
            path.relative_to(variant).as_posix(): path
            for path in variant.rglob("*.py")
            if path.is_file()
        }
        assert about["digest"] == {
            "algorithm": "sha256",
            "files": {
                name: base64.b64encode(hashlib.sha256(files[name].read_bytes()).digest()).decode()
                for name in sorted(files)
            },
        }
        seen.add(about["id"])
    assert len(seen) == 2


def test_a_kernel_imports_itself_pytorch_and_the_standard_library(written):
    allowed = {*sys.stdlib_module_names, "torch", "triton"}
    foreign = {"numpy", "filelock"}
    for variant in variants(written):
        for path in variant.rglob("*.py"):
            module = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(module):
                if isinstance(node, ast.ImportFrom) and node.level:
                    continue
                named = [node.module] if isinstance(node, ast.ImportFrom) else []
                named += [each.name for each in node.names] if isinstance(node, ast.Import) else []
                packages = {(name or "").partition(".")[0] for name in named}
                at_once = node in module.body
                assert packages <= (allowed if at_once else allowed | foreign), path


def test_a_change_of_the_code_is_another_kernel(written, tmp_path, monkeypatch):
    found = hub_kernel.sources()
    changed = {**found, "ops/operator.py": found["ops/operator.py"] + "\n"}
    monkeypatch.setattr(hub_kernel, "sources", lambda: changed)
    hub_kernel.write(tmp_path, "")
    ids = {
        json.loads((folder / "build" / "torch-cpu" / "metadata.json").read_text())["id"]
        for folder in (written, tmp_path)
    }
    assert len(ids) == 2


def test_a_place_that_is_taken_stays_as_it_is(written):
    before = sorted(written.rglob("*"))
    again = freeatten("kernels", "--out", written)
    assert again.code == 1
    assert sorted(written.rglob("*")) == before


# What it computes


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_loaded_kernel_computes_what_the_library_does(kernels, name, variant):
    inputs = tensors()
    found = with_gradients(kernels[name].attention, inputs, variant)
    for one, other in zip(found, with_gradients(attention, inputs, variant), strict=True):
        assert torch.equal(one, other)
    query, key, _ = inputs
    mine = kernels[name].row_statistics(query, key, variant, enable_gqa=True)
    assert torch.equal(mine.entropy, row_statistics(query, key, variant, enable_gqa=True).entropy)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter's infinities
@pytest.mark.parametrize("variant", VARIANTS)
def test_its_triton_kernels_are_within_rounding_of_float64(kernels, variant):
    require_kernels()
    kernel = kernels["cuda"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    choice = sys.modules[f"{kernel.__name__}.ops.backends.choice"]
    inputs = [each.to(device) for each in tensors()]
    with quickened(), patch.object(choice, "chosen", lambda *_: choice.named("fused")):
        found = with_gradients(kernel.attention, inputs, variant)
    exact = with_gradients(staged.reference_attention, [each.double() for each in inputs], variant)
    for one, other in zip(found, exact, strict=True):
        assert (one - other).abs().max() <= 2e-4 * max(1.0, float(other.abs().max()))
    used = sys.modules[f"{kernel.__name__}.ops.backends.fused.launch"]
    assert Path(kernel.__file__).parent in Path(used.__file__).parents


def test_versions_do_not_share_an_operator(kernels):
    names = {kernel.__name__ for kernel in kernels.values()} | {"freeatten"}
    operators = [getattr(torch.ops, name).attention.default for name in sorted(names)]
    assert len(set(operators)) == 3


def test_the_folder_of_its_name_offers_the_same(written, kernels):
    """Older versions of `kernels` look there."""
    path = written / "build" / "torch-cpu" / "freeatten" / "__init__.py"
    spec = importlib.util.spec_from_file_location("freeatten_c_older", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__all__ == kernels["cpu"].__all__
    inputs = tensors()
    expected = attention(*inputs, "lssa", enable_gqa=True)
    assert torch.equal(module.attention(*inputs, "lssa", enable_gqa=True), expected)


def test_it_needs_nothing_but_pytorch(written):
    done = ended(
        [sys.executable, "-c", LOAD + ALONE, written / "build" / "torch-cpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([1, 4, 40])\n"


def test_kernels_itself_loads_it(written):
    loader = pytest.importorskip("kernels", reason="the package kernels is not installed")
    kernel = loader.get_local_kernel(written)
    inputs = tensors()
    expected = attention(*inputs, "lssar:p=15", enable_gqa=True)
    assert torch.equal(kernel.attention(*inputs, "lssar:p=15", enable_gqa=True), expected)


# Its benchmark


def test_every_workload_of_the_benchmark_agrees_with_the_definition(written, kernels, monkeypatch):
    stand_in = ModuleType("kernels.benchmark")
    stand_in.Benchmark = type("Benchmark", (), {"device": "cpu"})
    monkeypatch.setitem(sys.modules, "kernels", ModuleType("kernels"))
    monkeypatch.setitem(sys.modules, "kernels.benchmark", stand_in)
    script = written / "benchmarks" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark_module", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.LENGTHS, "cpu", 40)
    workloads = [name for name in dir(module.CausalAttention) if name.startswith("benchmark_")]
    assert len(workloads) == 3
    for workload in workloads:
        benchmark = module.CausalAttention()
        benchmark.kernel = kernels["cpu"]
        benchmark.setup()
        getattr(benchmark, workload)()
        wanted = getattr(benchmark, workload.replace("benchmark_", "verify_"))()
        assert benchmark.out.shape == (1, module.HEADS, 40, module.DIM)
        assert torch.allclose(benchmark.out, wanted, atol=1e-2)
        assert not torch.allclose(benchmark.out, torch.zeros_like(wanted), atol=1e-2)
