"""What is written is whole or absent, and a failure is one sentence."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
from bounds import LIMIT, started
from strategies import refused

from freeatten_core.basics import files
from freeatten_core.basics.errors import ContentError, UsageError

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    return path


def fail_in(block, error):
    with block as temporary:
        (temporary / "part" if temporary.is_dir() else temporary).write_text("half of it")
        raise error


def test_a_file_is_replaced_when_the_block_ends(target):
    with files.replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert tiny.listing(target.parent) == ["out.txt"]


def test_a_new_file_can_be_read_by_others(tmp_path):
    files.write_text(tmp_path / "out.txt", "naïve ×")
    assert (tmp_path / "out.txt").read_bytes() == "naïve ×".encode()
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), ContentError("x")])
def test_the_old_file_stays_when_the_block_fails(target, error):
    with pytest.raises(type(error)) as caught:
        fail_in(files.replacing(target), error)
    assert caught.value is error
    assert target.read_text() == "old"
    assert tiny.listing(target.parent) == ["out.txt"]


def test_an_error_of_the_disk_is_one_sentence(target):
    with refused(ContentError, [f"cannot write {target}: No space left on device"]):
        fail_in(files.replacing(target), FULL)
    assert target.read_text() == "old"
    assert tiny.listing(target.parent) == ["out.txt"]


def test_a_full_disk_leaves_the_old_file(target):
    with refused(ContentError, [f"cannot write {target}: "]), tiny.disk_full():
        files.write_text(target, "new " * 1000)
    assert target.read_text() == "old"
    assert tiny.listing(target.parent) == ["out.txt"]


def test_a_disk_too_full_for_the_temporary_file(target, monkeypatch):
    def touch(*_, **__):
        raise FULL

    monkeypatch.setattr(Path, "touch", touch)
    with refused(ContentError, [f"cannot write {target}: No space left on device"]):
        files.write_text(target, "new")
    assert target.read_text() == "old"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "missing" / "out.txt"
    with refused(UsageError, [f"cannot write {path}", f"{path.parent} does not exist"]):
        files.write_text(path, "new")


def test_a_folder_cannot_be_replaced_by_a_file(tmp_path):
    with refused(UsageError, [f"cannot write {tmp_path}", "it is a folder; name a file in it"]):
        files.write_text(tmp_path, "new")
    assert tiny.listing(tmp_path) == []


def test_a_read_only_folder_is_named(target, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with refused(UsageError, [f"cannot write {target}", f"{target.parent} is not writable"]):
        files.write_text(target, "new")
    assert target.read_text() == "old"


def test_an_output_can_be_checked_before_work_is_spent(target, tmp_path):
    files.check_writable(target)
    files.check_writable(tmp_path / "new.txt")
    assert tiny.listing(tmp_path) == ["out.txt"]
    with pytest.raises(UsageError, match="does not exist"):
        files.check_writable(tmp_path / "missing" / "out.txt")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old.txt").write_text("old")
    return path


@pytest.mark.parametrize("place", ["new", "new/deep", ""])
def test_where_a_folder_can_be_made_it_is_not_refused(tmp_path, place):
    files.check_makeable(tmp_path / place)
    assert list(tmp_path.iterdir()) == []


def test_where_no_folder_can_be_made_is_told_by_the_place_above(tmp_path):
    (tmp_path / "file").write_text("x")
    with refused(UsageError, ["cannot make", "deep: ", "file is not a folder that can be written"]):
        files.check_makeable(tmp_path / "file" / "deep")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_cannot_be_made_says_why_in_the_words_of_the_system(
    tmp_path, monkeypatch, number
):
    def touch(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "touch", touch)
    place = f"cannot make {tmp_path / 'deep'}: {tmp_path} is not a folder that can be written to"
    with refused(UsageError, [f"{place}: {os.strerror(number)}"]):
        files.check_makeable(tmp_path / "deep")


NOBODYS = Path("/proc/freeatten")
"""A place where not even root makes anything."""
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")


@needs_proc
def test_a_file_system_that_takes_nothing_is_no_lock_of_another():
    says = ["cannot make", "/proc is not a folder that can be written to"]
    with refused(UsageError, says), files.locked(NOBODYS, "another call has it"):
        pass
    with refused(UsageError, says):
        files.check_makeable(NOBODYS)


def test_a_folder_appears_whole_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b" / "out"
    with files.replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert not path.exists()
    assert tiny.listing(path) == ["new.txt"]
    assert tiny.listing(path.parent) == ["out"]
    assert path.stat().st_mode & 0o777 == 0o755


def ours(folder):
    """Whether a folder holds what the tests' command makes."""
    return (folder / "old.txt").is_file() and tiny.listing(folder) == ["old.txt"]


def test_a_folder_takes_the_place_of_one_that_the_command_made(folder):
    with files.replacing_folder(folder, ours) as temporary:
        (temporary / "new.txt").write_text("new")
        assert tiny.listing(folder) == ["old.txt"]
    assert tiny.listing(folder) == ["new.txt"]
    assert tiny.listing(folder.parent) == ["out"]


@pytest.mark.parametrize("may_replace", [lambda _: False, ours], ids=["nothing", "ours"])
def test_a_folder_of_somebody_else_stays_and_the_new_one_is_beside_it(folder, may_replace):
    (folder / "notes.txt").write_text("years of work")
    (folder.parent / "out-2").write_text("a file of that name, too")

    def make():
        with files.replacing_folder(folder, may_replace) as temporary:
            (temporary / "new.txt").write_text("new")

    beside = folder.parent / "out-3"
    with refused(files.SavedElsewhereError, [f"{folder} came into being", f"whole in {beside}"]):
        make()
    assert tiny.listing(folder) == ["notes.txt", "old.txt"]
    assert tiny.listing(beside) == ["new.txt"]
    assert tiny.listing(folder.parent) == ["out", "out-2", "out-3"]


def test_a_file_that_came_into_being_meanwhile_stays(tmp_path):
    out = tmp_path / "out"

    def make():
        with files.replacing_folder(out) as temporary:
            (temporary / "new.txt").write_text("new")
            out.write_text("a letter")

    with pytest.raises(files.SavedElsewhereError) as caught:
        make()
    assert caught.value.place == tmp_path / "out-2"
    assert out.read_text() == "a letter"
    assert tiny.listing(tmp_path / "out-2") == ["new.txt"]


def test_an_empty_folder_is_filled_also_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with files.replacing_folder(tmp_path / "link") as temporary:
        (temporary / "new.txt").write_text("new")
    assert tiny.listing(tmp_path / "real") == ["new.txt"]
    assert tiny.listing(tmp_path) == ["link", "real"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), ContentError("x")])
def test_the_old_folder_stays_when_the_block_fails(folder, error):
    with pytest.raises(type(error)):
        fail_in(files.replacing_folder(folder), error)
    assert tiny.listing(folder) == ["old.txt"]
    assert tiny.listing(folder.parent) == ["out"]


def test_a_full_disk_leaves_the_old_folder(folder):
    def write():
        with files.replacing_folder(folder) as temporary:
            (temporary / "new.txt").write_text("new " * 1000)

    with refused(ContentError, [f"cannot write {folder}: "]), tiny.disk_full():
        write()
    assert tiny.listing(folder) == ["old.txt"]
    assert tiny.listing(folder.parent) == ["out"]


def test_the_old_folder_comes_back_when_the_last_step_fails(folder, monkeypatch):
    rename = Path.rename

    def fail_at_the_end(self, goal):
        if goal == folder and not self.name.endswith(".old"):
            raise FULL
        return rename(self, goal)

    monkeypatch.setattr(Path, "rename", fail_at_the_end)
    with refused(ContentError, [f"cannot write {folder}"]), files.replacing_folder(folder, ours):
        pass
    assert tiny.listing(folder) == ["old.txt"]
    assert tiny.listing(folder.parent) == ["out"]


def test_a_folder_does_not_take_the_place_of_a_file(target):
    with refused(ContentError, [f"cannot write {target}", "it is a file"]):
        fail_in(files.replacing_folder(target), AssertionError("the block ran"))
    assert target.read_text() == "old"
    assert tiny.listing(target.parent) == ["out.txt"]


def test_a_folder_cannot_be_made_in_a_file(target):
    with refused(ContentError, [f"cannot write {target / 'out'}"]):
        fail_in(files.replacing_folder(target / "out"), AssertionError("the block ran"))
    assert target.read_text() == "old"


def test_text_is_utf8_and_what_is_no_text_is_escaped(target):
    files.write_text(target, "Δ of caf\udce9.py")
    assert target.read_bytes() == "Δ of caf\\udce9.py".encode()


# Two at once


def test_a_lock_is_held_against_others_and_leaves_nothing(tmp_path):
    out = tmp_path / "new" / "out"

    def enter():
        with files.locked(out, "another writes there"):
            return True

    with files.locked(out, "busy"), ThreadPoolExecutor(1) as other:
        assert enter()  # the holder itself may
        assert tiny.listing(out.parent) == [".out.lock"]
        with refused(UsageError, ["another writes there"]):
            other.submit(enter).result(LIMIT)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(enter).result(LIMIT)
    assert tiny.listing(out.parent) == []


HOLD = """
import sys
from pathlib import Path
from freeatten_core.basics.files import locked

with locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    out = tmp_path / "out"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started([sys.executable, "-c", HOLD, str(out)], **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with refused(UsageError, ["another process writes"]):
            files.locked(out, "another process writes").__enter__()
        process.kill()
    with files.locked(out, "busy"):
        pass
    assert tiny.listing(tmp_path) == []
