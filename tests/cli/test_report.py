"""`freeatten report`: pages and cards are what the stored results say."""

import json
import shutil
from pathlib import Path

import pytest
from terminal import freeatten, refusal

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the command reads and rewrites."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    unread = shutil.ignore_patterns(
        "*.safetensors", "tokenizer.json", "*.png", "*.py", "__pycache__"
    )
    shutil.copytree(ROOT / "assets", tmp_path / "assets", ignore=unread)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def report(folder: Path) -> None:
    done = freeatten("report", folder, "--no-pictures")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_pages_and_cards_of_the_repository_are_up_to_date(checkout):
    before = contents(checkout)
    assert len([name for name in before if name.endswith("/README.md")]) == 7
    report(checkout)
    after = contents(checkout)
    assert [name for name in after if after[name] != before.get(name)] == []
    assert after.keys() == before.keys()


def test_a_changed_result_changes_the_tables_and_the_card(checkout):
    stored = checkout / "assets" / "results" / "stdlib-16x.json"
    result = json.loads(stored.read_text())
    (row,) = (row for row in result["variants"] if row["variant"] == "lssa")
    row["loss"][-1] = 8.765
    stored.write_text(json.dumps(result))
    before = contents(checkout)
    report(checkout)
    after = contents(checkout)
    changed = {name for name in after if after[name] != before[name]}
    assert {"README.md", "assets/checkpoints/lssa/README.md"} <= changed
    assert "assets/checkpoints/relu/README.md" not in changed
    for name in changed:
        assert "8.765" in after[name]


def test_a_block_that_no_result_gives_is_refused(checkout):
    page = checkout / "README.md"
    text = page.read_text() + "\n<!-- report: moon-16x loss -->\n<!-- end -->\n"
    page.write_text(text)
    sentence = refusal(1, "report", str(checkout), "--no-pictures")
    assert sentence == f"{page} asks for 'moon-16x loss', which no stored result gives"
    assert page.read_text() == text


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    sentence = refusal(2, "report", str(tmp_path), "--no-pictures")
    assert sentence == f"{tmp_path} is not a checkout of freeatten; name its folder"
    assert list(tmp_path.iterdir()) == []
