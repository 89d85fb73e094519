"""Installs the folder of `freeatten-viz space` and starts its app file, as a Space would.

    .venv/bin/python .ci/space.py

In a fresh virtual environment: the folder's requirements, and what a Space brings (Gradio in the
version of the front matter, and `spaces`). The page must answer, a model must be looked into, and
the log must be clean.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("freeatten-viz")
LIMIT = 120
"""Seconds to start, or to answer, on a busy machine."""
INSTALL_LIMIT = 900
"""Seconds to fetch and install what a Space asks for."""
TEXT = {"kind": "stdlib", "name": "", "content": ""}


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        space, log = Path(name) / "space", Path(name) / "log"
        subprocess.run([PROGRAM, "space", "--out", space], check=True, timeout=LIMIT)
        python = install(space, Path(name) / "environment")
        with log.open("w") as output:
            process, address = start(python, space, output)
            try:
                visit(address, process)
                process.send_signal(signal.SIGINT)
                code = process.wait(LIMIT)
            except BaseException:
                print(log.read_text(), file=sys.stderr)
                raise
            finally:
                process.kill()
        expected = f"freeatten is at {address} (Ctrl-C stops it)\n\nstopped\n"
        if code or log.read_text() != expected:
            sys.exit(f"the Space ended with {code} and said:\n{log.read_text()}")
    print(f"the Space answers: installed, started and asked in {time.monotonic() - began:.0f} s")


def install(space: Path, environment: Path) -> Path:
    """A fresh environment with what the Space asks for, and what it is given; its Python."""
    card = (space / "README.md").read_text(encoding="utf-8")
    (gradio,) = re.findall(r"^sdk_version: (\S+)$", card, re.MULTILINE)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=LIMIT)
    python = environment / "bin" / "python"
    pinned, required = ROOT / "constraints.txt", space / "requirements.txt"
    given = [f"gradio=={gradio}", "spaces"]
    words = ["--quiet", "--constraint", str(pinned), "--requirement", str(required), *given]
    subprocess.run([str(python), "-m", "pip", "install", *words], check=True, timeout=INSTALL_LIMIT)
    return python


def start(python: Path, space: Path, output: Any) -> tuple[subprocess.Popen[bytes], str]:
    """The app file with the environment of a Space, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONUNBUFFERED": "1",
        "SYSTEM": "spaces",
        "SPACE_ID": "owner/freeatten",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
    }
    process = subprocess.Popen(
        [python, "app.py"], cwd=space, env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    return process, f"http://127.0.0.1:{port}"


def visit(address: str, process: subprocess.Popen[bytes]) -> None:
    """What a visitor does: open the page, and look into a model."""
    page = opened(address, process)
    if "freeattenApp" not in page:
        raise AssertionError(f"not the page: {page[:500]}")
    components = json.loads(get(f"{address}/config"))["components"]
    component = next(one["id"] for one in components if one["props"].get("server_fns"))

    def ask(name: str, **given: Any) -> dict[str, Any]:
        body = {"session_hash": "s", "component_id": component, "fn_name": name, "data": given}
        request = Request(
            f"{address}/gradio_api/component_server/",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        answer: dict[str, Any] = json.loads(get(request))
        if answer.get("error"):
            raise AssertionError(f"{name}: {answer['error']}")
        return answer

    # at once, while the server still imports: on a Space with hot reload it would hang here
    if not ask("ask_results")["results"] or ask("ask_choices")["folders"]:
        raise AssertionError("the stored results are missing, or folders of the server are open")
    job = ask("ask_start", checkpoint="lssar-p15", text=TEXT, length=512, seed=0)["job"]
    limit = time.monotonic() + LIMIT
    while (told := ask("ask_progress", job=job))["state"] != "done":
        if told["state"] not in ("waiting", "running") or time.monotonic() > limit:
            raise AssertionError(f"the analysis is {told}")
        time.sleep(0.1)  # jobs are polled: the server tells nothing by itself
    corner = {"q0": 0, "q1": 64, "k0": 0, "k1": 64, "cells": 64}
    region = ask("ask_region", id=told["id"], layer=0, head=0, **corner)
    if (region["rows"], region["columns"]) != (64, 64):
        raise AssertionError(f"not the region that was asked for: {region}")


def opened(address: str, process: subprocess.Popen[bytes]) -> str:
    """The page, once the server listens."""
    limit = time.monotonic() + LIMIT
    while True:
        try:
            return get(address)
        except URLError:
            if process.poll() is not None or time.monotonic() > limit:
                raise
            time.sleep(0.1)  # another process: nothing but its port says that it listens


def get(request: str | Request) -> str:
    with urlopen(request, timeout=LIMIT) as answer:
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    main()
