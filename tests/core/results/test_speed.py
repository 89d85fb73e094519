"""A benchmark in words, Markdown and as a figure: all from the result, failures included."""

import json
import math
import re

import pytest
from sample_speed import COMPILED_LENGTHS, LENGTHS, RATIOS, sample_speed

from freeatten_core.bench.rounds import WORK
from freeatten_core.figures.speed import peer_style, ratio_ticks, speed_figure
from freeatten_core.figures.styles import STYLES
from freeatten_core.results import speed

CPU = {
    "schema": 1,
    "device": "cpu, a processor",
    "threads": 2,
    "settings": {"lengths": [2048], "heads": 8, "batch": 1, "dim": 64, "dtype": "float32"},
    "versions": {"freeatten": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    "rows": [
        {"peer": peer, "length": 2048, "ms": ms, "gflops": 9.0, "ratio": ms / 30, "peak_mb": 4.0,
         "note": ""}
        for peer, ms in (("sdpa softmax", 30.0), ("lssar:p=15", 45.0))
    ],
}  # fmt: skip


def lines(markdown):
    """The cells of a table's lines, by the first of them."""
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {line[0].strip("`"): line[1:] for line in cells}


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0"),
        (0.00042, "0.0004"),
        (0.09512, "0.0951"),
        (1.524, "1.52"),
        (76.31, "76.3"),
        (999.9, "1,000"),
        (60130.0, "60,130"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert speed.three_digits(value) == text


def test_ratios_have_two_digits_behind_the_point_at_most():
    assert [speed.times(ratio) for ratio in (0.634, 1.0, 12.04, 760.0, None)] == [
        "0.63×", "1.00×", "12.0×", "760×", "–"
    ]  # fmt: skip


def test_a_panel_is_a_pass_and_a_head_size():
    found = speed.panels(sample_speed())
    assert list(found) == [
        ("forward", 64), ("forward", 128), ("backward", 64), ("backward", 128), ("both", 64),
        ("both", 128),
    ]  # fmt: skip
    for (pass_name, dim), rows in found.items():
        assert {(row["pass_name"], row["dim"]) for row in rows} == {(pass_name, dim)}
        assert speed.peer_names(rows) == list(RATIOS)


def test_a_result_of_the_cpu_has_one_panel():
    ((panel, rows),) = speed.panels(CPU).items()
    assert panel == ("forward", 64)
    assert len(rows) == 2
    assert speed.machine(CPU) == "cpu, a processor, 2 threads, torch 2.13.0"
    assert speed.size(CPU) == "batch 1"


def test_a_result_of_a_gpu_says_whether_the_kernel_in_gluon_can_compute():
    result = sample_speed()
    versions = result["versions"] | {"gluon": "off (tested elsewhere)"}
    said = speed.machine(result | {"versions": versions})
    assert said == (
        "NVIDIA H200, torch 2.11.0+cu130, Triton 3.6.0, "
        "Hopper kernel (Gluon) off (tested elsewhere), CUDA 13.0, cuDNN 91300"
    )


# Markdown


def test_a_table_has_every_peer_at_every_length_or_says_why_not():
    text = speed.speed_blocks("speed/h200", sample_speed())["speed/h200 time forward"]
    tables = re.split(r"^Heads of (\d+):$", text, flags=re.MULTILINE)
    assert tables[1::2] == ["64", "128"]
    table = lines(tables[2])
    assert table[""] == ["1,024", "2,048", "4,096", "8,192", "16,384", "32,768"]
    assert list(table)[2:] == list(RATIOS)
    assert table["sdpa flash"][0] == "0.120 (1.00×)"
    assert table["lssar:p=15"][3] == "1.36 (1.42×)"
    assert table["lssar:p=15 naive"][-1] == "out of memory: needs 181 GB"
    assert table["lssa flex"][0] == ""
    compiled = [LENGTHS[i] for i, cell in enumerate(table["lssa flex"]) if cell]
    assert tuple(compiled) == COMPILED_LENGTHS


def test_every_measure_and_pass_has_its_block():
    blocks = speed.speed_blocks("speed/h200", sample_speed())
    assert set(blocks) == {
        f"speed/h200 {name}"
        for name in (
            "provenance",
            "errors",
            "summary",
            *(
                f"{measure} {pass_name}"
                for measure in ("time", "throughput", "memory")
                for pass_name in ("forward", "backward", "both")
            ),
        )
    }
    assert lines(blocks["speed/h200 throughput forward"])["sdpa flash"][0] == "286"
    assert lines(blocks["speed/h200 memory both"])["lssa"][0] == "119"


def test_a_failure_cannot_break_a_table():
    result = sample_speed(lengths=(2048,), dims=(64,), passes=("forward",))
    result["rows"][1] |= {"note": "failed: a|b", "ms": None}
    text = speed.speed_blocks("x", result)["x time forward"]
    assert lines(text)["sdpa cudnn"] == ["failed: a/b"]


def test_of_an_error_a_table_tells_the_kind():
    result = sample_speed(lengths=(2048,), dims=(64,), passes=("forward",))
    result["rows"][1] |= {"note": "failed: InductorError: Lowering:\n'x'", "ms": None}
    text = speed.speed_blocks("x", result)["x time forward"]
    assert lines(text)["sdpa cudnn"] == ["failed: InductorError"]


def test_errors_are_the_largest_over_the_lengths():
    result = sample_speed(dims=(64,), passes=("forward", "backward"))
    for row in result["rows"]:
        if (row["peer"], row["length"], row["pass_name"]) == ("lssa", 4096, "backward"):
            row["error"] = 0.0421
        if row["peer"] == "softmax":
            row["error"] = None
    table = lines(speed.error_table(result))
    assert table[""] == ["forward, heads of 64", "backward, heads of 64"]
    assert table["lssa"] == ["2.0e-03", "4.2e-02"]
    assert table["softmax"] == ["–", "–"]


def test_the_summary_is_of_8192_tokens_or_the_longest():
    text = speed.summary(sample_speed())
    assert text.startswith("8,192 tokens, causal, bfloat16, 16 heads, 16,384 tokens a call, on NVI")
    assert lines(text)["lssar:p=15 flex"] == [
        "4.90 (5.10×)", "9.79 (5.10×)", "17.1 (5.10×)", "34.3 (5.10×)"
    ]  # fmt: skip
    assert speed.summary(sample_speed(lengths=(1024, 4096))).startswith("4,096 tokens")


def test_the_provenance_names_machine_versions_and_command():
    text = speed.provenance(sample_speed())
    for words in (
        "NVIDIA H200",
        "torch 2.11.0+cu130",
        "Triton 3.6.0",
        "CUDA 13.0",
        "commit c3e835d0c2",
        "`freeatten bench --device cuda --json`",
    ):
        assert words in text


# Latencies


def waits(**changed):
    rows = [
        {"peer": peer, "length": 128, "ms": ms, "gflops": 9.0, "ratio": ms / 0.03, "peak_mb": None,
         "note": "", "pass_name": "short", "floor_ms": floor}
        for peer, ms, floor in (("sdpa softmax", 0.03, 0.01), ("lssar:p=15", 0.5, 0.3))
    ]  # fmt: skip
    return (
        CPU | {"rows": [*CPU["rows"], *rows], "settings": CPU["settings"] | {"repeat": 5}} | changed
    )


def test_a_latency_that_the_launches_decide_says_so():
    blocks = speed.speed_blocks("x", waits(seconds=1.0, command="", date="2026-11-27", commit=None))
    table = lines(blocks["x time short"])
    assert table["sdpa softmax"] == ["0.0300 (1.00×)"]
    assert table["lssar:p=15"] == ["0.500 (16.7×), launches"]
    assert "x memory short" not in blocks
    assert "short" not in speed.summary(waits())


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        (("forward",), "16 heads, 16,384 tokens a call, medians"),
        (("short", "decode"), "16 heads, batch 1, medians"),
        (("forward", "short"), "16 heads, 16,384 tokens a call, latencies batch 1, medians"),
    ],
)
def test_the_provenance_tells_what_a_call_of_every_pass_holds(passes, said):
    result = sample_speed(dims=(64,), lengths=(2048,))
    asked = result["rows"][:1]
    rows = [row | {"pass_name": name, "floor_ms": 0.01} for row in asked for name in passes]
    assert said in speed.provenance(result | {"rows": rows})
    batch = {"settings": result["settings"] | {"batch": 2}, "rows": rows}
    assert "16 heads, batch 2, medians" in speed.provenance(result | batch)


def test_a_figure_of_latencies_alone_is_of_one_sequence_a_call():
    result = sample_speed(dims=(64,), lengths=(2048,))
    rows = [row | {"pass_name": "short", "floor_ms": 0.01} for row in result["rows"][:2]]
    subtitle = speed_figure(result | {"rows": rows}).layout.title.subtitle.text
    assert "16 heads, batch 1 ·" in subtitle.replace("<br>", " ")


def test_latencies_are_drawn_where_there_is_nothing_else():
    assert len(speed_figure(waits()).data) == 2
    alone = waits(rows=waits()["rows"][2:])
    headings = [note.text for note in speed_figure(alone).layout.annotations]
    assert headings[0] == "<b>Latency</b>, heads of 64"


# The figure


def test_the_figure_has_a_panel_for_every_pass_and_head_size():
    figure = speed_figure(sample_speed())
    axes = {trace.yaxis for trace in figure.data}
    assert axes == {"y", "y2", "y3", "y4", "y5", "y6"}
    for axis in axes:
        traces = [trace for trace in figure.data if trace.yaxis == axis]
        assert [trace.name for trace in traces] == list(RATIOS)
    headings = [note.text for note in figure.layout.annotations][:6]
    assert headings[:2] == ["<b>Forward</b>, heads of 64", "<b>Forward</b>, heads of 128"]
    assert headings[5] == "<b>Forward + backward</b>, heads of 128"


def test_panels_do_not_overlap():
    layout = speed_figure(sample_speed()).layout
    domains = [
        (layout[f"xaxis{key}"].domain, layout[f"yaxis{key}"].domain) for key in ("", *"23456")
    ]
    left, right = domains[0][0], domains[1][0]
    assert left[0] == 0
    assert left[1] < right[0]
    assert right[1] == 1
    tops = [domain[1] for domain in domains[::2]]
    assert tops[0][1] == 1
    assert tops[0][0] > tops[1][1] > tops[1][0] > tops[2][1]
    assert tops[2][0] == 0


@pytest.mark.parametrize(
    ("least", "largest", "ticks"),
    [
        (0.4, 30, [0.5, 1, 2, 5, 10, 20]),
        (0.5, 1.6, [0.5, 0.6, 0.8, 1, 1.25, 1.5]),
        (0.9, 1.3, [1, 1.25]),
    ],
)
def test_a_narrow_panel_has_finer_ticks(least, largest, ticks):
    assert ratio_ticks(math.log10(least), math.log10(largest)) == ticks


def test_lines_are_ratios_on_log_axes():
    figure = speed_figure(sample_speed())
    by_name = {trace.name: trace for trace in figure.data if trace.yaxis == "y"}
    assert tuple(by_name["lssar:p=15"].x) == LENGTHS
    assert set(by_name["lssar:p=15"].y) == {1.42}
    assert tuple(by_name["lssa flex"].x) == COMPILED_LENGTHS
    assert by_name["lssar:p=15 naive"].y[-1] is None
    axis = figure.layout.yaxis
    assert (figure.layout.xaxis.type, axis.type) == ("log", "log")
    assert axis.range[0] < math.log10(0.63) < math.log10(76) < axis.range[1]
    assert "1×" in axis.ticktext


def test_lines_are_labelled_at_their_ends():
    figure = speed_figure(sample_speed(dims=(64,), passes=("forward",)))
    notes = {note.text: note for note in figure.layout.annotations}
    assert notes["lssar:p=15 <b>1.42×</b>"].y == pytest.approx(math.log10(1.42))
    assert notes["lssar:p=15 naive <b>76.0×</b>"].x == pytest.approx(math.log10(16384))


def test_hovering_tells_the_numbers():
    figure = speed_figure(sample_speed(dims=(64,), passes=("forward",)))
    trace = next(trace for trace in figure.data if trace.name == "lssar:p=15")
    assert trace.hovertext[3] == (
        "lssar:p=15, 8,192 tokens<br>1.36 ms, 1.42× sdpa flash<br>202 TFLOP/s, 34.1 MB"
    )


def test_peers_of_one_colour_differ_in_dash_or_marker():
    styles = [peer_style(peer) for peer in RATIOS]
    assert len({(style.color, style.dash, style.marker) for style in styles}) == len(styles)
    for one in styles:
        alike = [style for style in styles if style.color == one.color]
        assert len({(style.dash, style.marker) for style in alike}) == len(alike)
    assert peer_style("lssa flex").color == STYLES["lssa"].color


def test_without_the_baseline_the_figure_says_that_nothing_is_there():
    result = sample_speed(dims=(64,), passes=("forward",))
    for row in result["rows"]:
        row["ratio"] = None
    figure = speed_figure(result)
    assert any(note.text.startswith("no finite value") for note in figure.layout.annotations)
    json.loads(figure.to_json())


def test_a_result_of_the_cpu_makes_a_figure_too():
    figure = speed_figure(CPU)
    assert [trace.name for trace in figure.data] == ["sdpa softmax", "lssar:p=15"]
    assert figure.layout.title.text == "<b>How long attention takes, relative to sdpa softmax</b>"


def test_the_passes_are_those_of_the_benchmark():
    assert tuple(speed.PASSES) == tuple(WORK)
