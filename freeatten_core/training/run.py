"""How the shipped models were trained: the recipe as plain values, and the loop.

The order of the data depends on the seed and the step alone, so every variant reads the same
tokens and a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.devices import device_name
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import SavedElsewhereError, locked
from freeatten_core.data.prepared import Corpus
from freeatten_core.data.recall_task import UNSCORED
from freeatten_core.models.checkpoint import save_checkpoint
from freeatten_core.models.decoder import Model
from freeatten_core.ops.backends.choice import FUSED_DIMS
from freeatten_core.ops.definitions import own_function
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

from .batches import Batches, BatchSource
from .gradients import FreshGradients, ReplayedGradients, compiled_attention
from .recipe import Recipe
from .state import State, kept_progress, load_state, save_state, state_path


@dataclass(frozen=True)
class Progress:
    """What a run reports: after every evaluation, and when a learning rate was tried."""

    phase: str
    """`search` or `train`."""
    step: int
    steps: int
    learning_rate: float
    loss: float
    """Mean training loss since the last report, nats per token."""
    validation: float
    tokens_per_step: int
    tokens_per_second: float


def train(
    variant: Variant,
    corpus: Corpus,
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train one variant and save it as a checkpoint folder.

    A run that finds its own state in `out` goes on from there; on a CPU to the same weights,
    bit for bit.

    Args:
        variant: without modifiers.
        corpus: prepared text; its tokenizer becomes the checkpoint's.
        out: the checkpoint folder; it appears when training is done.
        recipe: plain values.
        device: CPU or CUDA.
        command: how to run this again, for the model card.
        report: called at every evaluation.

    Raises:
        UsageError: `out` is taken, also by another training, its state is that of another run, or
            a modifier is given.
        SavedElsewhereError: `out` was taken meanwhile; the checkpoint is whole beside it.
        ContentError: the disk is full, or a loss is not finite.
    """
    recipe = replace(recipe, vocab_size=corpus.tokenizer.get_vocab_size())
    with reserved(variant, out):
        model, about = fit(
            variant,
            Batches(corpus, recipe, device),
            {"text": corpus.about},
            out,
            recipe,
            device=device,
            command=command,
            report=report,
        )
        from freeatten_core.results.cards import card

        with finished(out):
            save_checkpoint(
                out,
                model,
                corpus.tokenizer,
                seed=recipe.seed,
                steps=recipe.steps,
                curve=about,
                card=card(variant, about, results={}),
            )
    return out


def fit(
    variant: Variant,
    source: BatchSource,
    read: Mapping[str, Any],
    out: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    command: str,
    report: Callable[[Progress], None],
) -> tuple[Model, dict[str, Any]]:
    """Search a learning rate, train, and say how: what `train` does before it saves.

    Args:
        source: batches on `device`.
        read: what the source draws from, as JSON; a state of another is refused.
        out: where the checkpoint will be; the state of the run is kept beside it.

    Returns:
        The model, and what belongs into `curve.json`.

    Raises:
        UsageError: the state beside `out` is that of another run.
        ContentError: the disk is full, or a loss is not finite.
    """
    read = {**read, **own_function.described(variant)}
    run = _Run(variant, source, read, out, recipe, device, report)
    try:
        run.search()
        run.train()
    except KeyboardInterrupt as stopped:
        stopped.add_note(kept_progress(out))
        raise
    about = {
        "recipe": asdict(replace(recipe, warmup=recipe.warmup_steps(recipe.steps))),
        "learning_rate": run.peak,
        "searched": {
            rate: loss if math.isfinite(loss) else None for rate, loss in run.state.searched.items()
        },
        "curve": run.state.curve,
        "seconds": round(run.state.seconds, 1),
        "device": device_name(device),
        "torch": torch.__version__,
        "command": command,
        **read,
    }
    return run.model, about


def check_run(variant: Variant, out: Path) -> None:
    """What can be refused before text is prepared.

    Raises:
        UsageError: `out` is taken or cannot be made, or a modifier is given.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name a folder that does not")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"cannot make {out}: {parent} is not a folder that can be written to")
    if variant.modifiers:
        raise UsageError(f"{variant} is for inference; train {variant.trained}")


@contextmanager
def reserved(variant: Variant, out: Path) -> Iterator[None]:
    """`out` for one training alone; blocks can be nested.

    Raises:
        UsageError: as `check_run`, or another training has it.
    """
    check_run(variant, out)
    busy = f"another training makes {out} now; wait until it has, or name another folder"
    with locked(out, busy):
        yield


@contextmanager
def finished(out: Path) -> Iterator[None]:
    """Around the saving of a checkpoint, after which its state goes, wherever it was saved."""
    try:
        yield
    except SavedElsewhereError:
        state_path(out).unlink(missing_ok=True)
        raise
    state_path(out).unlink(missing_ok=True)


class _Run:
    def __init__(
        self,
        variant: Variant,
        source: BatchSource,
        read: Mapping[str, Any],
        out: Path,
        recipe: Recipe,
        device: torch.device,
        report: Callable[[Progress], None],
    ) -> None:
        self.recipe, self.device, self.report = recipe, device, report
        self.state_path = state_path(out)
        self.source = source
        self.model = Model(recipe.config(variant)).to(device)
        self.state = State()
        self.identity = {"variant": str(variant), **read, "recipe": asdict(recipe)}
        # one's own function may read values back, which neither a compiler nor a graph can
        self._plain = device.type != "cuda" or isinstance(variant.computes, OwnFunctionName)
        self._loss = self._loss_function()
        kind = FreshGradients if self._plain else ReplayedGradients
        self._differentiate = kind(self._loss, list(self.model.parameters()))
        self.saved: dict[str, Tensor] = {}
        if self.state_path.exists():
            self.state, self.saved = load_state(self.state_path, self.identity)
        out.parent.mkdir(parents=True, exist_ok=True)

    @property
    def peak(self) -> float:
        """The learning rate chosen: the best searched, or the only one."""
        if not self.state.searched:
            return self.recipe.learning_rates[0]
        finite = {k: v for k, v in self.state.searched.items() if math.isfinite(v)}
        if not finite:
            raise ContentError(f"every learning rate diverged: {self.state.searched}")
        return float(min(finite, key=lambda rate: finite[rate]))

    def search(self) -> None:
        """Try each learning rate in a short run of its own schedule."""
        if len(self.recipe.learning_rates) < 2:
            return
        for rate in self.recipe.learning_rates:
            if repr(rate) in self.state.searched:
                continue
            self.model.initialise(self.recipe.seed, self.recipe.initial_deviation)
            optimizer = self._optimizer()
            steps = self.recipe.search_steps
            losses = []
            started = time.perf_counter()
            for step in range(steps):
                losses.append(self._step(optimizer, step, rate, steps))
            validation = self.validation_loss()
            self.state.searched[repr(rate)] = validation
            elapsed = time.perf_counter() - started
            self._report("search", steps, steps, rate, losses, validation, elapsed)
            self._save_state(None)

    def train(self) -> None:
        optimizer = self._optimizer()
        self.model.initialise(self.recipe.seed, self.recipe.initial_deviation)
        if self.state.step:
            self._restore(optimizer)
        recipe = self.recipe
        losses: list[Tensor] = []
        started = time.perf_counter()
        for step in range(self.state.step, recipe.steps):
            losses.append(self._step(optimizer, step, self.peak, recipe.steps))
            done = step + 1
            if done % recipe.evaluate_every == 0 or done == recipe.steps:
                validation = self.validation_loss()
                elapsed = time.perf_counter() - started
                entry = self._report(
                    "train", done, recipe.steps, self.peak, losses, validation, elapsed
                )
                self.state.curve.append(entry)
                self.state.seconds += elapsed
                self._check_finite(done, entry)
                losses, started = [], time.perf_counter()
                due = done // recipe.save_every > self.state.step // recipe.save_every
                if due and done < recipe.steps:
                    self.state.step = done
                    self._save_state(optimizer)

    def _check_finite(self, step: int, entry: Mapping[str, float]) -> None:
        for name in ("loss", "validation"):
            if not math.isfinite(entry[name]):
                what = "training" if name == "loss" else name
                raise ContentError(
                    f"{self.model.config.variant} diverged: at step {step:,} its {what} loss is "
                    f"{entry[name]}, which is not finite; give a learning rate (--lr) below "
                    f"{self.peak:g}"
                )

    def validation_loss(self) -> float:
        """Mean nats per token over the fixed validation windows."""
        # under grad mode, so that a compiled loss is not compiled a second time
        losses = [self._loss(batch).detach() for batch in self.source.validation()]
        return float(torch.stack(losses).mean())

    def _step(self, optimizer: torch.optim.Optimizer, step: int, peak: float, steps: int) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step, peak, steps)
        loss = self._differentiate(self.source.training(step))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        optimizer.step()
        return loss

    def _optimizer(self) -> torch.optim.AdamW:
        matrices = [w for w in self.model.parameters() if w.ndim > 1]
        vectors = [w for w in self.model.parameters() if w.ndim == 1]
        return torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=0.0,  # every step sets its own
            betas=self.recipe.betas,
            fused=self.device.type == "cuda",
        )

    def _loss_function(self) -> Callable[[Tensor], Tensor]:
        model, split = self.model, self.source.split
        if self._plain:

            def mean_loss(drawn: Tensor) -> Tensor:
                tokens, targets = split(drawn)
                return model.token_losses(tokens, targets)[targets != UNSCORED].mean()

            return mean_loss
        torch.set_float32_matmul_precision("high")
        if model.config.head_dim not in FUSED_DIMS:
            model.attend = compiled_attention
        angles = model.rope.table(self.recipe.train_length, self.device)

        def loss(drawn: Tensor) -> Tensor:
            tokens, targets = split(drawn)
            with torch.autocast("cuda", torch.bfloat16):
                logits = model.logits(model.hidden(tokens, angles=angles))
            return torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNSCORED
            )

        compiled: Callable[[Tensor], Tensor] = torch.compile(loss)
        return compiled

    def _report(
        self,
        phase: str,
        step: int,
        steps: int,
        rate: float,
        losses: list[Tensor],
        validation: float,
        elapsed: float,
    ) -> dict[str, float]:
        recipe = self.recipe
        loss = float(torch.stack(losses).mean())
        tokens = recipe.batch * recipe.train_length
        speed = len(losses) * tokens / elapsed
        self.report(Progress(phase, step, steps, rate, loss, validation, tokens, speed))
        return {"step": step, "loss": round(loss, 5), "validation": round(validation, 5)}

    def _save_state(self, optimizer: torch.optim.Optimizer | None) -> None:
        tensors: dict[str, Tensor] = {}
        if optimizer is not None:
            for name, weight in self.model.named_parameters():
                tensors[f"weight.{name}"] = weight.detach().contiguous()
                for key, value in optimizer.state[weight].items():
                    tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
        save_state(self.state_path, self.state, tensors, self.identity)

    def _restore(self, optimizer: torch.optim.AdamW) -> None:
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(self.saved[f"weight.{name}"])
                optimizer.state[weight] = {
                    key: self.saved[f"{key}.{name}"].to(
                        self.device if self.device.type == "cuda" or key != "step" else "cpu"
                    )
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        self.saved = {}
