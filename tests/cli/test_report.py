"""`freeatten report`: pages and cards are what the stored results say."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from freeatten_cli import exports
from freeatten_cli.commands.report import (
    MODELS,
    draw_inside,
    draw_models,
    draw_retrievals,
    draw_speed,
    draw_stability,
)
from sample_app import export_result, redraw_result, soak_result, start_result
from sample_inside import ablate_result, survey_result
from sample_models import FORMS, LARGE, SMALL, heads_result, models_result
from sample_retrieval import copy_result, recall_result
from sample_speed import sample_speed
from sample_stability import stability_result
from terminal import freeatten, refusal

from freeatten_core import Variant
from freeatten_core.data.tasks.recall import RecallTask
from freeatten_core.training.tasks import RECIPES, train_task

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the command reads and rewrites."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    unread = shutil.ignore_patterns(
        "*.safetensors", "tokenizer.json", "*.webp", "*.py", "__pycache__"
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


def emptied(checkout: Path, name: str) -> Path:
    """The folder of stored results of a name, emptied."""
    folder = checkout / "assets" / "results" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def blocks_of(checkout: Path, page: str, result: str) -> dict[str, str]:
    """The generated blocks of a page that are of results of a name, by what follows the name."""
    text = (checkout / "docs" / page).read_text(encoding="utf-8")
    return dict(re.findall(rf"<!-- report: {result}(.+?) -->\n(.*?)<!-- end -->", text, re.DOTALL))


@pytest.mark.parametrize(
    ("folder", "page", "block"),
    [
        ("speed", "speed.md", "speed/h200 time forward"),
        ("retrieve", "inside.md", "retrieve/copy gain"),
        ("inside", "inside.md", "inside/heads entropy"),
        ("app", "app.md", "app/redraw table"),
        ("stability", "stability.md", "stability/cpu random float16"),
        ("systems", "softplus.md", "systems/code delta"),
        ("cube", "softplus.md", "cube/runs cells"),
        ("own", "own.md", "own/code loss"),
        ("controls", "rows.md", "controls/clex-code delta"),
        ("longppl", "inside.md", "longppl/code table"),
        ("tasks", "inside.md", "tasks/passkey accuracy"),
        ("models", "models.md", "models/code bits"),
        ("scale", "training.md", "scale/training speed"),
    ],
)
def test_while_nothing_is_stored_the_blocks_stay_as_they_are(checkout, folder, page, block):
    stored = emptied(checkout, folder)
    path = checkout / "docs" / page
    before = path.read_text(encoding="utf-8")
    assert f"<!-- report: {block} -->" in before
    report(checkout)
    assert path.read_text(encoding="utf-8") == before
    assert list(stored.iterdir()) == []


def test_the_pages_and_cards_of_the_repository_are_up_to_date(checkout):
    before = contents(checkout)
    cards = [name for name in before if re.fullmatch(r"assets/checkpoints/[^/]+/README.md", name)]
    assert len(cards) == 8
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


def test_a_stored_benchmark_fills_every_block_of_its_page(checkout):
    folder = emptied(checkout, "speed")
    (folder / "h200.json").write_text(json.dumps(sample_speed()))
    report(checkout)
    found = blocks_of(checkout, "speed.md", "speed/h200 ")
    assert len(found) == 9
    assert [name for name, block in found.items() if not block.strip()] == []
    assert "| `lssar:p=15` | 0.170 (1.42×) |" in found["time forward"]
    assert "freeatten bench --device cuda --json" in found["provenance"]


def test_a_block_that_the_stored_benchmark_lacks_is_refused(checkout):
    folder = emptied(checkout, "speed")
    (folder / "h200.json").write_text(json.dumps(sample_speed(passes=("forward",))))
    assert "'speed/h200 time backward', which no stored result gives" in refusal(
        1, "report", str(checkout), "--no-pictures"
    )


def test_the_benchmark_is_drawn_for_light_and_dark_pages(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        exports, "save_page_picture", lambda figure, path: drawn.update({path.name: figure})
    )
    draw_speed(tmp_path, sample_speed())
    assert list(drawn) == ["speed-light.webp", "speed-dark.webp"]
    colors = [figure.layout.font.color for figure in drawn.values()]
    assert colors[0] != colors[1]


def test_stored_retrievals_fill_their_blocks(checkout):
    folder = emptied(checkout, "retrieve")
    (folder / "copy.json").write_text(json.dumps(copy_result()))
    (folder / "recall.json").write_text(json.dumps(recall_result()))
    report(checkout)
    found = blocks_of(checkout, "inside.md", "retrieve/")
    assert set(found) == {
        *("copy gain", "copy control", "copy provenance"),
        *("recall accuracy", "recall distance", "recall provenance"),
    }
    assert "| `lssar:p=15` | +2.540 ±0.050 |" in found["copy gain"]
    assert "| `softmax` | 100.0 (44–100) |" in found["recall distance"]
    assert "freeatten retrieve --task recall" in found["recall provenance"]


def test_a_stored_recall_is_on_the_card_of_its_model(checkout):
    (emptied(checkout, "retrieve") / "recall.json").write_text(json.dumps(recall_result()))
    folder = checkout / "assets" / "recall" / "softmax"
    shutil.rmtree(folder, ignore_errors=True)
    train_task(
        Variant(),
        RecallTask(),
        folder,
        replace(RECIPES["recall"], steps=2, batch=2, learning_rates=(1e-3,), validation_windows=2),
        device=torch.device("cpu"),
        command="freeatten train --task recall",
    )
    assert "Nothing has been stored" in (folder / "README.md").read_text()
    report(checkout)
    assert (
        "| `softmax` | 100.0 (97.1–100.0) | 99.8 (97.1–100.0) |"
        in (folder / "README.md").read_text()
    )


def test_retrievals_are_drawn_for_light_and_dark_pages(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exports, "save_page_picture", lambda _, path: drawn.append(path.name))
    draw_retrievals(tmp_path, {"retrieve/copy": copy_result(), "retrieve/recall": recall_result()})
    assert drawn == [
        *("retrieve-copy-light.webp", "retrieve-copy-dark.webp"),
        *("retrieve-recall-light.webp", "retrieve-recall-dark.webp"),
    ]


def test_stored_surveys_and_ablations_fill_their_blocks(checkout):
    folder = emptied(checkout, "inside")
    (folder / "heads.json").write_text(json.dumps(survey_result()))
    (folder / "ablate.json").write_text(json.dumps(ablate_result()))
    (folder / "ablate-books.json").write_text(json.dumps(ablate_result(heads=False)))
    report(checkout)
    found = blocks_of(checkout, "inside.md", "inside/")
    assert "| `softmax` | 2.90 ±0.10 |" in found["heads entropy"]
    assert "| `lssar:p=15` | +0.481 ±0.030 |" in found["ablate delta"]
    assert "0.0: −0.250 ±0.020" in found["ablate heads"]
    assert "freeatten ablate --len 4x" in found["ablate-books provenance"]
    assert [name for name, block in found.items() if not block.strip()] == []


def test_the_inside_is_drawn_for_light_and_dark_pages(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exports, "save_page_picture", lambda _, path: drawn.append(path.name))
    stored = json.loads((ROOT / "assets" / "results" / "stdlib-16x.json").read_text())
    results = {"stdlib-16x": stored}
    draw_inside(tmp_path, {}, results)
    assert drawn == ["inside-position-light.webp", "inside-position-dark.webp"]
    drawn.clear()
    inside = {"inside/heads": survey_result(), "inside/ablate": ablate_result()}
    draw_inside(tmp_path, inside, results)
    names = ("position", "entropy", "distance", "heads")
    assert drawn == [f"inside-{name}-{theme}.webp" for theme in ("light", "dark") for name in names]


def stored_models() -> dict[str, Any]:
    names = ("code", "books", "modified-code", "modified-books")
    compared = {f"models/{name}": models_result() for name in names}
    heads = {"models/heads-smollm2": SMALL, "models/heads-gemma": LARGE}
    others = {"models/undone": ablate_result(), "models/copy": copy_result()}
    for result in others.values():
        result["variants"][0] |= {"checkpoint": SMALL, "form": FORMS[SMALL]}
    return compared | {name: heads_result(model) for name, model in heads.items()} | others


def test_every_result_of_models_has_its_sample():
    assert {*stored_models()} == {*MODELS}


def test_stored_results_of_models_fill_their_blocks(checkout):
    folder = emptied(checkout, "models")
    for name, result in stored_models().items():
        (folder / f"{name.removeprefix('models/')}.json").write_text(json.dumps(result))
    report(checkout)
    found = blocks_of(checkout, "models.md", "models/")
    assert {f"models/{name.split()[0]}" for name in found} <= set(MODELS)
    assert f"| `{SMALL}` |" in found["code bits"]
    for name, block in found.items():
        assert "dequantised: " in block, name


def test_models_are_drawn_for_light_and_dark_pages(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exports, "save_page_picture", lambda _, path: drawn.append(path.name))
    draw_models(tmp_path, {})
    assert drawn == []
    draw_models(tmp_path, stored_models())
    names = ("code", "modified-code", "heads")
    assert drawn == [f"models-{name}-{theme}.webp" for theme in ("light", "dark") for name in names]


def test_stored_measurements_of_the_app_fill_their_blocks(checkout):
    folder = emptied(checkout, "app")
    results = {
        "start": start_result(),
        "redraw": redraw_result(),
        "export": export_result(),
        "soak": soak_result(),
    }
    for name, result in results.items():
        (folder / f"{name}.json").write_text(json.dumps(result))
    report(checkout)
    found = blocks_of(checkout, "app.md", "app/")
    assert (
        "| first answer, s | 200 | 0.625 | 1.25 | 2.50 | largest ≤ 3: met |"
        in (found["start table"])
    )
    assert "| region, ms | 200 | 125 | 250 | 500 | p95 ≤ 200: missed |" in found["redraw table"]
    assert (
        "| the whole site, s | 3 | 60.0 | 90.0 | 90.0 | largest ≤ 120: met |"
        in (found["export table"])
    )
    assert "| steps that failed | 0 | ≤ 0: met |" in found["soak facts"]
    assert "| lines in the server's log | 2 | ≤ 0: missed |" in found["soak facts"]
    assert "| minutes | 0.0 | 5.0 | 10.0 | 15.0 | 20.0 | 25.0 | 30.0 |" in found["soak memory"]
    assert "| memory of the server, MB | 500 | 650 |" in found["soak memory"]
    assert "a processor, 2 cores, 25.3 GB (load 0.04" in found["redraw provenance"]
    assert [name for name, block in found.items() if not block.strip()] == []


def test_a_stored_stability_fills_every_block_of_its_page(checkout):
    folder = emptied(checkout, "stability")
    result = stability_result()
    result["settings"]["dtypes"].insert(1, "bfloat16")
    for entry in result["variants"]:
        entry["types"]["bfloat16"] = entry["types"]["float32"]
    (folder / "cpu.json").write_text(json.dumps(result))
    report(checkout)
    found = blocks_of(checkout, "stability.md", "stability/cpu ")
    assert [name for name, block in found.items() if not block.strip()] == []
    assert "| `softmax` | 5.0e-4 | 6.0e-4 |" in found["random float16"]
    assert "| `softmax` | −4.84 … 4.5 |" in found["checkpoint scores"]
    assert "freeatten stability --json" in found["provenance"]


def test_stability_is_drawn_for_light_and_dark_pages(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exports, "save_page_picture", lambda _, path: drawn.append(path.name))
    draw_stability(tmp_path, stability_result())
    assert drawn == [
        f"stability-{name}-{theme}.webp"
        for theme in ("light", "dark")
        for name in ("scale", "length")
    ]


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    sentence = refusal(2, "report", str(tmp_path), "--no-pictures")
    assert sentence == f"{tmp_path} is not a checkout of freeatten; name its folder"
    assert list(tmp_path.iterdir()) == []
