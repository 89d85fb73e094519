"""Training learns, takes the same data for every variant, and survives being killed."""

import json
import logging
import math
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from bounds import started
from safetensors.torch import load_file
from strategies import refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import SavedElsewhereError
from freeatten_core.basics.shards import Shard, shards
from freeatten_core.data.prepared import load_corpus, prepare
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import parameter_count
from freeatten_core.models.format import CURVE, FILES, WEIGHTS
from freeatten_core.training.batches import Batches
from freeatten_core.training.gradients import FreshGradients, ReplayedGradients
from freeatten_core.training.objective import Objective
from freeatten_core.training.recipe import SIZES, Recipe
from freeatten_core.training.run import train
from freeatten_core.training.state import ABOUT, kept_folder
from freeatten_core.training.updates import Updates

CPU = torch.device("cpu")
STATE = ".mine.training-state"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of two prepared sources; one has many files, one few."""
    folder = tmp_path_factory.mktemp("texts")
    sources = [tiny.write_folder(folder / "one"), tiny.write_folder(folder / "two", files=5)]
    prepare([str(source) for source in sources], folder / "corpus", vocab_size=300)
    return folder / "corpus"


@pytest.fixture(scope="module")
def texts(prepared):
    return load_corpus(prepared)


def run(texts, out, variant="softmax", recipe=tiny.RECIPE, report=lambda _: None):
    return train(
        Variant.parse(variant),
        texts,
        out,
        recipe,
        device=CPU,
        command="freeatten train",
        report=report,
    )


@pytest.fixture(scope="module")
def uninterrupted(texts, tmp_path_factory):
    return run(texts, tmp_path_factory.mktemp("whole") / "mine")


class StopError(Exception):
    """Ends a run from inside, as Ctrl-C would."""


def stop_at(step, phase="train"):
    def report(progress):
        if (progress.phase, progress.step) == (phase, step):
            raise StopError

    return report


def interrupt(texts, out, step=30, **options):
    """A run that ended before its report at `step`; its state is that of the save before."""
    with pytest.raises(StopError):
        run(texts, out, report=stop_at(step), **options)


def assert_same_run(one, other):
    """Bitwise the same weights, and the same curve."""
    weights, expected = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
    curves = [json.loads((folder / CURVE).read_text())["curve"] for folder in (one, other)]
    assert curves[0] == curves[1]
    assert [entry["step"] for entry in curves[0]] == [10, 20, 30, 40]


# learning


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15", "relu"])
def test_the_loss_goes_down(texts, tmp_path, variant, kv_heads):
    recipe = replace(tiny.RECIPE, steps=80, kv_heads=kv_heads)
    loaded = load_checkpoint(run(texts, tmp_path / "mine", variant, recipe))
    curve = loaded.curve()["curve"]
    assert curve[0]["validation"] < math.log(300)
    assert curve[-1]["validation"] < curve[0]["validation"] - 0.5
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5
    assert (str(loaded.config.variant), loaded.config.kv_heads) == (variant, kv_heads)


def test_a_run_tells_its_speed_once_after_ten_steps(texts, tmp_path):
    seen = []
    recipe = replace(tiny.RECIPE, evaluate_every=20, steps=40)
    run(texts, tmp_path / "mine", recipe=recipe, report=seen.append)
    assert [(each.phase, each.step) for each in seen] == [
        ("start", 10),
        ("train", 20),
        ("train", 40),
    ]
    assert seen[0].tokens_per_second > 0
    assert math.isnan(seen[0].validation)


@pytest.mark.parametrize(("size", "millions"), [("small", 25), ("medium", 105)])
def test_the_larger_sizes_have_the_parameters_they_are_called_by(size, millions):
    recipe = Recipe().changed(**SIZES[size])
    config = recipe.config(Variant())
    assert parameter_count(config) / 1e6 == pytest.approx(millions, abs=0.5)
    assert (recipe.train_length, config.head_dim, len(recipe.learning_rates)) == (1024, 64, 1)


def test_the_checkpoint_is_complete_and_says_how_it_was_made(texts, uninterrupted):
    assert tiny.listing(uninterrupted) == sorted(FILES)
    assert tiny.listing(uninterrupted.parent) == ["mine"]  # no state is left
    about = load_checkpoint(uninterrupted).curve()
    assert about["command"] == "freeatten train"
    assert about["recipe"]["steps"] == 40
    assert about["learning_rate"] == 1e-2
    assert (about["searched"], about["device"]) == ({}, "cpu")
    assert about["text"] == texts.about


def test_progress_is_reported_at_every_evaluation(texts, tmp_path):
    seen = []
    out = run(texts, tmp_path / "mine", report=seen.append)
    assert [(p.phase, p.step, p.steps) for p in seen] == [
        ("train", s, 40) for s in (10, 20, 30, 40)
    ]
    assert {(p.tokens_per_step, p.learning_rate) for p in seen} == {(8 * 16, 1e-2)}
    curve = load_checkpoint(out).curve()["curve"]
    assert [entry["loss"] for entry in curve] == [round(p.loss, 5) for p in seen]
    assert all(p.tokens_per_second > 0 for p in seen)


def test_the_validation_loss_is_that_of_the_saved_model(texts, uninterrupted):
    loaded = load_checkpoint(uninterrupted)
    windows = torch.cat(Batches(texts, tiny.RECIPE, CPU).validation())
    loss = loaded.model.token_losses(windows[:, :-1], windows[:, 1:]).mean()
    last = loaded.curve()["curve"][-1]["validation"]
    assert float(loss) == pytest.approx(last, abs=0.02)  # the weights were rounded


def test_the_learning_rate_warms_up_and_falls_to_zero():
    recipe = replace(tiny.RECIPE, warmup=4)
    rates = [recipe.learning_rate(step, 1.0, 40) for step in range(41)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == rates[3] == pytest.approx(37 / 40)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[40] == 0


# the data


def batches(texts, **changes):
    return Batches(texts, replace(tiny.RECIPE, **changes), CPU)


def test_the_order_of_the_data_depends_on_the_seed_and_step_alone(texts):
    first, same = batches(texts), batches(texts, width=32, layers=2, steps=99)
    other = batches(texts, seed=1)
    steps = [0, 1, 300, 7]
    for step in steps:
        assert torch.equal(first.training(step), same.training(step))
        assert not torch.equal(first.training(step), other.training(step))
    assert len({first.training(step).numpy().tobytes() for step in steps}) == 4
    assert torch.equal(torch.cat(first.validation()), torch.cat(other.validation()))


def test_every_variant_reads_the_same_windows(texts, tmp_path, monkeypatch):
    seen = {"softmax": [], "lssar:p=3": []}
    draw = Batches.training
    for variant, windows in seen.items():
        monkeypatch.setattr(
            Batches, "training", lambda s, n, w=windows: w.append(draw(s, n)) or w[-1]
        )
        run(texts, tmp_path / variant, variant)
    assert len(seen["softmax"]) == 40
    assert all(torch.equal(*pair) for pair in zip(*seen.values(), strict=True))


def documents_of(tokens, lengths):
    return [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]


def holds(documents, window):
    text = ",".join(map(str, window))
    return any(text in ",".join(map(str, document)) for document in documents)


def test_every_batch_takes_equal_shares_of_training_text(texts):
    windows = batches(texts).training(3)
    assert (windows.shape, windows.dtype) == ((8, 17), torch.int64)
    for index, source in enumerate(texts.sources):
        training = documents_of(source.tokens, source.lengths)
        share = windows[4 * index : 4 * index + 4].tolist()
        assert [holds(training, window) for window in share] == [True] * 4


def test_validation_windows_are_not_in_training_text(texts):
    windows = batches(texts, validation_windows=20).validation()
    assert [tuple(batch.shape) for batch in windows] == [(8, 17)] * 3
    for index, source in enumerate(texts.sources):
        held_back = documents_of(source.validation_tokens, source.validation_lengths)
        training = documents_of(source.tokens, source.lengths)
        for window in (w for batch in windows for w in batch[4 * index : 4 * index + 4].tolist()):
            assert holds(held_back, window)
            assert not holds(training, window)


def test_a_batch_that_sources_cannot_share_is_refused(texts, tmp_path):
    with refused(UsageError, ["batch is 7", "a multiple of the 2 text sources"]):
        run(texts, tmp_path / "mine", recipe=replace(tiny.RECIPE, batch=7))
    assert tiny.listing(tmp_path) == []


def test_a_text_that_is_too_short_is_refused(texts, tmp_path):
    with refused(UsageError, ["no file of one is 100001 tokens long", "a shorter length"]):
        run(texts, tmp_path / "mine", recipe=replace(tiny.RECIPE, train_length=100_000))
    assert tiny.listing(tmp_path) == []


# the search for a learning rate


def searching(*rates):
    return replace(tiny.RECIPE, learning_rates=rates, steps=10)


def test_the_search_takes_the_rate_with_the_lowest_validation_loss(texts, tmp_path):
    seen = []
    out = run(texts, tmp_path / "mine", recipe=searching(1e-6, 2e-2, 1e-5), report=seen.append)
    about = load_checkpoint(out).curve()
    searched = {float(rate): loss for rate, loss in about["searched"].items()}
    assert list(searched) == [1e-6, 2e-2, 1e-5]
    assert about["learning_rate"] == min(searched, key=searched.get) == 2e-2
    assert [(p.phase, p.step, p.learning_rate) for p in seen] == [
        ("search", 6, 1e-6),
        ("search", 6, 2e-2),
        ("search", 6, 1e-5),
        ("train", 10, 2e-2),
    ]


def test_the_run_after_a_search_starts_afresh(texts, tmp_path):
    searched = run(texts, tmp_path / "a", recipe=searching(1e-6, 2e-2))
    alone = run(texts, tmp_path / "b", recipe=searching(2e-2))
    one, other = (load_file(folder / WEIGHTS) for folder in (searched, alone))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


DIVERGES = 1e5
"""With this learning rate no loss stays finite."""


@pytest.mark.parametrize("rates", [(DIVERGES, 1e-3), (1e-3, DIVERGES)])
def test_the_search_ignores_a_rate_that_diverged(texts, tmp_path, rates):
    about = load_checkpoint(run(texts, tmp_path / "mine", recipe=searching(*rates))).curve()
    assert about["learning_rate"] == 1e-3
    assert about["searched"][repr(DIVERGES)] is None


def test_when_every_rate_diverged_the_run_says_so(texts, tmp_path):
    with refused(ContentError, ["every learning rate diverged"]):
        run(texts, tmp_path / "mine", recipe=searching(DIVERGES, 2 * DIVERGES))
    assert not (tmp_path / "mine").exists()


def test_a_run_that_diverged_makes_no_checkpoint(texts, tmp_path):
    words = ["relu diverged: at step 10 its training loss is nan", "not finite", "below 100000"]
    with refused(ContentError, words):
        run(texts, tmp_path / "mine", "relu", replace(tiny.RECIPE, learning_rates=(DIVERGES,)))
    assert tiny.listing(tmp_path) == []


def test_a_validation_loss_that_is_not_finite_makes_no_checkpoint(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(Objective, "validation", lambda _: math.nan)
    with refused(ContentError, ["softmax diverged: at step 10 its validation loss is nan"]):
        run(texts, tmp_path / "mine")
    assert tiny.listing(tmp_path) == []


# shards of a batch


@pytest.mark.parametrize("of", [2, 4])
def test_shards_together_read_exactly_what_one_reads(texts, of):
    whole = batches(texts, validation_windows=20)
    recipe = replace(tiny.RECIPE, validation_windows=20)
    parts = [Batches(texts, recipe, CPU, shard) for shard in shards(of)]

    def joined(windows):
        """Every shard has its share of each of the two sources."""
        return torch.cat([each.view(2, -1, 17) for each in windows], dim=1).flatten(0, 1)

    for step in (0, 300):
        assert torch.equal(joined([each.training(step) for each in parts]), whole.training(step))
    for index, expected in enumerate(whole.validation()):
        assert torch.equal(joined([each.validation()[index] for each in parts]), expected)


def test_the_mean_of_the_shards_gradients_trains_as_the_whole_batch_does(texts):
    recipe = replace(tiny.RECIPE, steps=5)

    def trained(of):
        model = Model(recipe.config(Variant()))
        model.initialise(0)
        updates = Updates(model, recipe, 1e-2, recipe.steps)
        parts = [Objective(model, Batches(texts, recipe, CPU, shard), 0) for shard in shards(of)]
        weights = list(model.parameters())
        for step in range(recipe.steps):
            found = []
            for part in parts:
                part.gradients(step, recipe.steps)
                found.append([weight.grad for weight in weights])
            for weight, *grads in zip(weights, *found, strict=True):
                weight.grad = torch.stack(grads).mean(0)
            updates.apply(step)
        return model, np.mean([part.validation() for part in parts])

    (one, expected), (other, loss) = trained(1), trained(4)
    assert loss == pytest.approx(expected, abs=1e-5)
    for weight, same in zip(other.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(weight, same, rtol=1e-4, atol=1e-5)


def test_a_batch_that_shards_cannot_share_is_refused(texts):
    with refused(UsageError, ["batch is 8", "a multiple of 6: 3 shards"]):
        Batches(texts, tiny.RECIPE, CPU, Shard(0, 3))


def test_a_run_is_these_steps_and_no_others(texts, uninterrupted):
    """The whole recipe written out, to the last bit."""
    recipe, source = tiny.RECIPE, batches(texts)
    model = Model(recipe.config(Variant()))
    model.initialise(recipe.seed, recipe.initial_deviation)
    groups = [
        {"params": [w for w in model.parameters() if w.ndim == 2], "weight_decay": 0.1},
        {"params": [w for w in model.parameters() if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step in range(recipe.steps):
        windows = source.training(step)
        loss = model.token_losses(windows[:, :-1], windows[:, 1:]).flatten().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1, (step + 1) / 4) * (1 - step / 40)
        optimizer.step()
    saved = load_file(uninterrupted / WEIGHTS)
    for name, weight in model.named_parameters():
        assert torch.equal(weight.to(saved[name].dtype), saved[name]), name


# being killed

CHILD = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
import tiny
from freeatten_core import Variant
from freeatten_core.training import run as training, state as training_state
from freeatten_core.data.prepared import load_corpus

torch.set_num_threads(1)
save, kill_in_save, saves = training_state.write_tensors, sys.argv[4] == "save", []

def report(progress):
    print(progress.step, flush=True)
    if progress.step == 30 and not kill_in_save:
        sys.stdin.read()  # until it is killed

def write_tensors(tensors, folder, ranks):
    saves.append(folder)
    if len(saves) == 2 and kill_in_save:
        (folder / "half").write_bytes(b"half of a state")
        os.kill(os.getpid(), signal.SIGKILL)
    save(tensors, folder, ranks)

training_state.write_tensors = write_tensors
training.train(Variant(), load_corpus(Path(sys.argv[2])), Path(sys.argv[3]), tiny.RECIPE,
    device=torch.device("cpu"), command="freeatten train", report=report)
"""


def killed(prepared, out, where):
    """Steps reported by a run in a process of its own, which is killed."""
    here = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", CHILD, here, str(prepared), str(out), where]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    steps = []
    with started(command, **pipes, cwd=here + "/../..") as process:
        for line in process.stdout:
            steps.append(int(line))
            if steps[-1] == 30:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    return steps


@pytest.mark.parametrize(("where", "reported"), [("training", [10, 20, 30]), ("save", [10, 20])])
def test_a_killed_run_goes_on_to_the_same_weights(
    texts, prepared, uninterrupted, tmp_path, where, reported
):
    out = tmp_path / "mine"
    assert killed(prepared, out, where) == reported
    assert STATE in tiny.listing(tmp_path)
    assert not out.exists()
    seen = []
    run(texts, out, report=lambda progress: seen.append(progress.step))
    assert seen == ([30, 40] if where == "training" else [20, 30, 40])
    assert_same_run(out, uninterrupted)
    assert not (tmp_path / STATE).exists()


def test_a_run_stopped_twice_goes_on_to_the_same_weights(texts, uninterrupted, tmp_path):
    interrupt(texts, tmp_path / "mine", step=20)
    interrupt(texts, tmp_path / "mine", step=40)
    assert_same_run(run(texts, tmp_path / "mine"), uninterrupted)


@pytest.mark.parametrize("name", ["clex", "drope"])
def test_positions_that_change_meanwhile_are_the_same_when_a_run_goes_on(texts, tmp_path, name):
    whole = run(texts, tmp_path / "whole", name)
    interrupt(texts, tmp_path / "mine", variant=name)
    assert_same_run(run(texts, tmp_path / "mine", name), whole)


def test_the_rate_begins_again_where_drope_drops_the_rotation():
    def rates(name):
        model = Model(tiny.RECIPE.config(Variant.parse(name)))
        updates = Updates(model, tiny.RECIPE, 1.0, 40)
        found = []
        for step in range(40):
            updates.apply(step)
            found.append(updates._optimizers[0].param_groups[0]["lr"])
        return found

    plain, dropped = rates("softmax"), rates("drope")
    assert dropped[:35] == pytest.approx([tiny.RECIPE.learning_rate(i, 1.0, 35) for i in range(35)])
    assert dropped[35:] == pytest.approx([tiny.RECIPE.learning_rate(i, 1.0, 5) for i in range(5)])
    assert dropped[35] > dropped[34] * 10
    assert plain == pytest.approx([tiny.RECIPE.learning_rate(i, 1.0, 40) for i in range(40)])


@pytest.mark.parametrize("save_every", [1, 7, 10])
def test_states_are_saved_at_the_next_evaluation(texts, uninterrupted, tmp_path, save_every):
    recipe = replace(tiny.RECIPE, save_every=save_every)
    interrupt(texts, tmp_path / "mine", step=20, recipe=recipe)
    seen = []
    out = run(texts, tmp_path / "mine", recipe=recipe, report=seen.append)
    assert seen[0].step == 20
    assert_same_run(out, uninterrupted)


def test_a_search_goes_on_with_the_rates_not_tried(texts, tmp_path):
    recipe, out = searching(1e-6, 2e-2, 1e-5), tmp_path / "mine"
    with pytest.raises(StopError):
        run(texts, out, recipe=recipe, report=stop_at(10))
    seen = []
    run(texts, out, recipe=recipe, report=lambda p: seen.append((p.phase, p.learning_rate)))
    assert seen == [("train", 2e-2)]
    whole = run(texts, tmp_path / "whole", recipe=recipe)
    one, other = (load_file(folder / WEIGHTS) for folder in (out, whole))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"variant": "relu"}, "variant was softmax and is relu now;"),
        ({"recipe": replace(tiny.RECIPE, seed=1)}, "seed was 0 and is 1 now;"),
    ],
    ids=["variant", "recipe"],
)
def test_the_state_of_another_run_is_refused_and_kept(texts, uninterrupted, tmp_path, other, said):
    out = tmp_path / "mine"
    interrupt(texts, out)
    words = [str(tmp_path / STATE), "another run: ", said, "remove the folder"]
    with refused(UsageError, words):
        run(texts, out, **other)
    assert_same_run(run(texts, out), uninterrupted)


def test_the_state_of_another_text_is_refused(texts, tmp_path):
    interrupt(texts, tmp_path / "mine")
    sources = [tiny.write_folder(tmp_path / name, files=5) for name in ("one", "two")]
    other = prepare([str(each) for each in sources], tmp_path / "corpus", vocab_size=300)
    assert len(tiny.listing(tmp_path / "one")) < 60  # the same names, fewer texts
    with refused(UsageError, ["another run: ", "sha256 of one was ", " now; finish that run"]):
        run(other, tmp_path / "mine")


@pytest.mark.parametrize("name", [ABOUT, "shard-00001-model-00001-of-00001.safetensors"])
def test_a_truncated_state_is_refused_with_the_remedy(texts, uninterrupted, tmp_path, name):
    out = tmp_path / "mine"
    interrupt(texts, out)
    state = tmp_path / STATE
    file = kept_folder(state) / name
    whole = file.read_bytes()
    for kept in (0, 10, 300, -1):
        file.write_bytes(whole[:kept])
        told = [f"{state} is not a training state", "remove it to start again"]
        with refused(ContentError, told):
            run(texts, out)
    shutil.rmtree(state)
    assert_same_run(run(texts, out), uninterrupted)


def test_tensors_that_cannot_be_read_are_told_in_one_sentence(texts, tmp_path, caplog):
    out, state = tmp_path / "mine", tmp_path / STATE
    interrupt(texts, out)
    for file in kept_folder(state).glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:300])
    said = f"{state} is not a training state: its tensors cannot be read; remove it to start again"
    caplog.clear()
    with pytest.raises(ContentError, match=f"^{re.escape(said)}$"):
        run(texts, out)
    assert caplog.messages == []
    logging.warning("as before")
    assert caplog.messages == ["as before"]


def test_memory_that_runs_out_is_no_damage(texts, tmp_path, monkeypatch):
    out, state = tmp_path / "mine", tmp_path / STATE
    interrupt(texts, out)

    def full(_work):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr("freeatten_core.training.state._checkpointed", full)
        with pytest.raises(torch.OutOfMemoryError):
            run(texts, out)
    assert kept_folder(state).is_dir()


def test_the_state_of_an_earlier_version_is_not_passed_over(texts, tmp_path):
    earlier = tmp_path / f"{STATE}.safetensors"
    earlier.write_bytes(b"in one file")
    with refused(UsageError, [f"{earlier} is the state of an earlier version", "remove the file"]):
        run(texts, tmp_path / "mine")
    assert tiny.listing(tmp_path) == [earlier.name]


def test_weights_are_no_training_state(texts, uninterrupted, tmp_path):
    (tmp_path / STATE).write_bytes((uninterrupted / WEIGHTS).read_bytes())
    with refused(ContentError, [f"{tmp_path / STATE} is not a training state"]):
        run(texts, tmp_path / "mine")


def saved_step(state):
    assert [each.name for each in state.iterdir()] == [kept_folder(state).name]
    return json.loads((kept_folder(state) / ABOUT).read_text())["state"]["step"]


def test_a_disk_full_while_saving_the_state_leaves_the_earlier_one(texts, uninterrupted, tmp_path):
    out = tmp_path / "mine"
    interrupt(texts, out, step=20)
    assert saved_step(tmp_path / STATE) == 10
    for room in (0, 100, 20_000):
        with refused(ContentError, [f"cannot write {tmp_path / STATE}"]), tiny.disk_full(room):
            run(texts, out)
    assert tiny.listing(tmp_path) == [STATE]
    assert saved_step(tmp_path / STATE) == 10
    assert_same_run(run(texts, out), uninterrupted)


def test_a_disk_full_while_saving_the_checkpoint_leaves_the_state(texts, uninterrupted, tmp_path):
    out = tmp_path / "mine"
    interrupt(texts, out, step=40)
    with refused(ContentError, [f"cannot write {out}"]), tiny.disk_full(2_000):
        run(texts, out)  # from step 30 on nothing but the checkpoint is written
    assert tiny.listing(tmp_path) == [STATE]
    assert_same_run(run(texts, out), uninterrupted)


def test_a_disk_full_at_the_first_save_leaves_nothing(texts, tmp_path):
    with refused(ContentError, [f"cannot write {tmp_path / STATE}"]), tiny.disk_full(20_000):
        run(texts, tmp_path / "mine")
    assert tiny.listing(tmp_path) == []


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (10, "stopped before the first step was kept; the same command starts again"),
        (30, "stopped; step 20 is kept, and the same command goes on from there"),
    ],
)
def test_ctrl_c_says_which_step_is_kept(texts, tmp_path, step, kept):
    def report(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        run(texts, tmp_path / "mine", report=report)
    assert stopped.value.__notes__ == [kept]


def test_ctrl_c_in_the_search_says_what_was_tried(texts, tmp_path):
    def report(progress):
        if progress.learning_rate == 2e-2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        run(texts, tmp_path / "mine", recipe=searching(1e-6, 2e-2), report=report)
    assert stopped.value.__notes__[0].startswith("stopped; the trials of lr 1e-06 are kept")


def test_the_recipe_of_a_short_run_says_the_warmup_it_had(texts, tmp_path):
    recipe = replace(tiny.RECIPE, steps=12, warmup=300)
    about = load_checkpoint(run(texts, tmp_path / "mine", recipe=recipe)).curve()
    assert about["recipe"]["warmup"] == 3
    rates = [recipe.learning_rate(step, 1.0, 12) for step in range(12)]
    assert rates.index(max(rates)) == 2  # three steps of warm-up


# two at once, and a place that is taken


def test_a_second_training_into_one_folder_is_refused(texts, uninterrupted, tmp_path):
    out = tmp_path / "mine"
    seen = []

    def report(progress):
        if progress.step == 20:
            with ThreadPoolExecutor(1) as other:
                seen.append(other.submit(run, texts, out).exception())

    assert_same_run(run(texts, out, report=report), uninterrupted)
    assert isinstance(seen[0], UsageError)
    assert str(seen[0]).startswith(f"another training makes {out} now; wait until it has")
    assert tiny.listing(tmp_path) == ["mine"]


def test_what_took_the_place_stays_and_the_checkpoint_is_beside_it(texts, uninterrupted, tmp_path):
    out = tmp_path / "mine"

    def report(progress):
        if progress.step == 40:
            out.mkdir()
            (out / "notes.txt").write_text("years of work")

    words = [f"{out} came into being", f"is whole in {tmp_path / 'mine-2'}"]
    with refused(SavedElsewhereError, words):
        run(texts, out, report=report)
    assert tiny.listing(out) == ["notes.txt"]
    assert_same_run(tmp_path / "mine-2", uninterrupted)
    assert tiny.listing(tmp_path) == ["mine", "mine-2"]


# what is refused


def test_an_existing_folder_is_refused_and_kept(texts, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with refused(UsageError, [f"{tmp_path} exists; name a folder that does not"]):
        run(texts, tmp_path)
    assert tiny.listing(tmp_path) == ["thesis.txt"]


def test_a_modifier_is_not_trained(texts, tmp_path):
    with refused(UsageError, ["softmax+yarn is for inference; train softmax"]):
        run(texts, tmp_path / "mine", "softmax+yarn")
    assert tiny.listing(tmp_path) == []


def test_a_recipe_changes_what_is_given():
    recipe = Recipe().changed(width=96, heads=2, steps=None, learning_rates="1e-3, 3e-3", seed=5)
    assert recipe == replace(
        Recipe(), width=96, mlp_width=288, heads=2, kv_heads=2, learning_rates=(1e-3, 3e-3), seed=5
    )
    assert Recipe().changed() == Recipe()
    assert Recipe().changed(heads=4, width=64, kv_heads=2).kv_heads == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 100}, ["width is 100 with 3 heads", "must divide half of it"]),
        ({"width": 64, "heads": 64}, ["width is 64 with 64 heads"]),
        ({"kv_heads": 2}, ["kv_heads is 2 with 3 heads"]),
        ({"learning_rates": "fast"}, ["lr is 'fast'", "such as 1e-3,3e-3"]),
        ({"learning_rates": "1e-3,"}, ["lr is '1e-3,'"]),
        ({"learning_rates": "0"}, ["lr is '0'", "between 0 and 1"]),
        ({"learning_rates": "nan"}, ["lr is 'nan'"]),
        ({"learning_rates": "1e-3,2"}, ["lr is '1e-3,2'"]),
    ],
)
def test_a_value_out_of_range_is_refused(changes, words):
    with refused(UsageError, words):
        Recipe().changed(**changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replayed_gradients_are_those_of_fresh_ones():
    weight = torch.nn.Parameter(torch.randn(8, 8, device="cuda"))

    def loss(batch):
        return (batch @ weight).square().mean()

    fresh, replayed = (kind(loss, [weight]) for kind in (FreshGradients, ReplayedGradients))
    for seed in range(3):
        draw = torch.Generator("cuda").manual_seed(seed)
        batch = torch.randn(4, 8, device="cuda", generator=draw)
        expected = fresh(batch), weight.grad.clone()
        found = replayed(batch), weight.grad.clone()
        torch.testing.assert_close(found, expected)
        with torch.no_grad():
            weight.add_(0.1)
        weight.grad = None if seed == 0 else weight.grad
