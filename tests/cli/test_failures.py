"""What a user can cause is one sentence and an exit code; a bug keeps its traceback."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch
import typer
from bounds import ended
from freeatten_app import failures as app_failures
from freeatten_cli.terminal.failures import guarded
from terminal import PROCESS, process_environment

from freeatten_core import Variant
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import replacing, replacing_folder
from freeatten_core.basics.signals import unwind_when_signalled


def stopped(error, capsys):
    """The exit code and the panel's sentence of a command that raises."""

    def command():
        raise error

    with pytest.raises(typer.Exit) as exit_:
        guarded(command)()
    out, err = capsys.readouterr()
    assert out == ""
    return exit_.value.exit_code, " ".join(line.strip("│ ") for line in err.splitlines()[1:-1])


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("no such thing; known: this, that"), 2, "no such thing; known: this, that"),
        (ContentError("weights are not whole"), 1, "weights are not whole"),
        (OSError(errno.EIO, "Input/output error", "notes.txt"), 1, "notes.txt: Input/output error"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (OSError("the pipe is gone"), 1, "the pipe is gone"),
    ],
)
def test_own_failures_are_their_sentence_and_a_code(error, code, sentence, capsys):
    assert stopped(error, capsys) == (code, sentence)


def test_an_interruption_is_130(capsys):
    assert stopped(KeyboardInterrupt(), capsys) == (130, "stopped; nothing half-written was left")


@pytest.fixture
def default_signals():
    """Signals as a terminal sets them, and afterwards as they were."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {name: signal.signal(name, handler) for name, handler in usual.items()}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    "guarded", [guarded, app_failures.guarded], ids=["freeatten", "freeatten-viz"]
)
def test_a_signal_ends_a_command_as_ctrl_c_does(guarded, name, tmp_path, capsys):
    number = signal.Signals[name]

    @guarded
    def write():
        with replacing(tmp_path / "map.png"), replacing_folder(tmp_path / "site") as folder:
            (folder / "half.html").write_text("half")
            os.kill(os.getpid(), number)

    unwind_when_signalled()
    with pytest.raises(typer.Exit) as exit_:
        write()
    assert exit_.value.exit_code == 128 + number
    assert "stopped; nothing half-written was left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    os.kill(os.getpid(), number)  # a second one cuts nothing short


@pytest.mark.usefixtures("default_signals")
def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    unwind_when_signalled()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 1099511627776 bytes."
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."),
    ],
)
def test_memory_that_ran_out_is_a_failure_with_a_remedy(error, capsys):
    code, sentence = stopped(error, capsys)
    assert code == 1
    assert sentence.startswith("out of memory; use a shorter length")


def test_torch_itself_runs_out_of_memory_like_that(capsys):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert stopped(caught.value, capsys)[1].startswith("out of memory")


@pytest.mark.parametrize(
    "error", [ValueError("operands could not be broadcast"), RuntimeError("bug"), KeyError("row")]
)
def test_a_bug_is_not_disguised(error):
    def command():
        raise error

    with pytest.raises(type(error)) as caught:
        guarded(command)()
    assert caught.value is error


@pytest.mark.parametrize("text", ["sofmax", "lssar:p=0", "softmax+yam", ",", "stages:score=x"])
def test_every_wrong_variant_is_a_wrong_call(text):
    with pytest.raises(UsageError):
        Variant.parse_list(text)


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe that nobody reads any more, as after `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("words", [["checkpoints"], ["checkpoints", "--json"]])
def test_a_closed_pipe_ends_quietly(words, closed_pipe):
    done = ended(
        [*PROCESS, *words],
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
    )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")  # noqa: PTH110
def test_a_full_disk_behind_standard_output_is_a_failure():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = ended(
            [*PROCESS, "checkpoints", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=process_environment(),
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_process_exits_with_the_code():
    done = ended(
        [*PROCESS, "checkpoints", "gpt2"],
        capture_output=True,
        text=True,
        env=process_environment(),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert sys.executable not in done.stderr
