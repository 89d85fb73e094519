"""What is written is whole or absent, and a failure is one sentence."""

import errno
import os
from pathlib import Path

import pytest
import tiny
from strategies import refused

from freeatten_core import files
from freeatten_core.errors import ContentError, UsageError

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
    def mkstemp(**_):
        raise FULL

    monkeypatch.setattr(files.tempfile, "mkstemp", mkstemp)
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
    with refused(UsageError, [f"cannot write {target}", f"{target.parent} is read-only"]):
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


def test_a_folder_appears_whole_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b" / "out"
    with files.replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert not path.exists()
    assert tiny.listing(path) == ["new.txt"]
    assert tiny.listing(path.parent) == ["out"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_folder_takes_the_place_of_the_old_one(folder):
    with files.replacing_folder(folder) as temporary:
        (temporary / "new.txt").write_text("new")
        assert tiny.listing(folder) == ["old.txt"]
    assert tiny.listing(folder) == ["new.txt"]
    assert tiny.listing(folder.parent) == ["out"]


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
    with refused(ContentError, [f"cannot write {folder}"]), files.replacing_folder(folder):
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
