"""Ctrl-C is one sentence, whatever is being loaded when it comes."""

import subprocess
import sys

MODULE = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
whole = sum(range(100_000))
"""
IMPORTING = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from freeatten_core.basics.signals import unwind_when_signalled
unwind_when_signalled()
try:
    import loaded
    threading.Event().wait(30)
except KeyboardInterrupt:
    print(loaded.whole)
"""
IGNORING = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from freeatten_core.basics.signals import unwind_when_signalled
unwind_when_signalled()
os.kill(os.getpid(), signal.SIGINT)
print("goes on")
"""


def output(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_an_import_is_not_torn_by_it(tmp_path):
    (tmp_path / "loaded.py").write_text(MODULE)
    assert output(IMPORTING, tmp_path) == f"{sum(range(100_000))}\n"


def test_a_process_that_ignores_it_goes_on(tmp_path):
    assert output(IGNORING, tmp_path) == "goes on\n"
