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
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from . import own, reference
from .attention import FUSED_DIMS
from .checkpoint import save_checkpoint
from .devices import device_name
from .errors import ContentError, UsageError
from .files import SavedElsewhereError, locked
from .model import Model, ModelConfig
from .seeds import check_seed
from .tokens import Corpus, window_offsets, window_starts
from .training_state import State, kept_progress, load_state, save_state, state_path
from .variants import Variant

UNSCORED = -100
"""A target that does not count, as `cross_entropy` has it."""

DRAWN_AHEAD = 256
"""Steps whose windows are drawn at once: a copy to the GPU every step waits for the step before."""


@dataclass(frozen=True)
class Recipe:
    """The shipped models' recipe; `freeatten train` can change each value."""

    train_length: int = 512
    width: int = 192
    layers: int = 5
    heads: int = 3
    kv_heads: int = 3
    mlp_width: int = 576
    vocab_size: int = 4096
    rope_base: float = 10_000.0
    batch: int = 64
    steps: int = 20_000
    warmup: int = 300
    learning_rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)
    """With more than one, the best in short runs by validation loss is used."""
    search_steps: int = 800
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    initial_deviation: float = 0.02
    seed: int = 0
    evaluate_every: int = 500
    validation_windows: int = 256
    save_every: int = 1_000

    def changed(self, **values: Any) -> Recipe:
        """A recipe with the values that are not None replaced.

        `learning_rates` may be text, rates separated by commas.

        Raises:
            UsageError: a value out of range.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if isinstance(given.get("learning_rates"), str):
            given["learning_rates"] = _rates(given["learning_rates"])
        if "heads" in given:
            given.setdefault("kv_heads", given["heads"])
        if "width" in given:
            given.setdefault("mlp_width", 3 * given["width"])
        recipe = replace(self, **given)
        check_seed(recipe.seed)
        if recipe.width % (2 * recipe.heads):
            raise UsageError(
                f"width is {recipe.width} with {recipe.heads} heads; heads must divide half of it"
            )
        if recipe.heads % recipe.kv_heads:
            raise UsageError(
                f"kv_heads is {recipe.kv_heads} with {recipe.heads} heads; it must divide them"
            )
        return recipe

    def config(self, variant: Variant) -> ModelConfig:
        return ModelConfig(
            variant=variant,
            train_length=self.train_length,
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            mlp_width=self.mlp_width,
            rope_base=self.rope_base,
        )

    def warmup_steps(self, steps: int) -> int:
        """Of a run of so many steps: at most a quarter of them."""
        return max(1, min(self.warmup, steps // 4))

    def learning_rate(self, step: int, peak: float, steps: int) -> float:
        """Linear warm-up, then linear to zero."""
        warm = min(1.0, (step + 1) / self.warmup_steps(steps))
        return peak * warm * (1 - step / steps)


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


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise UsageError(f"lr is {text!r}; it must be numbers between 0 and 1, such as 1e-3,3e-3")
    return rates


class BatchSource(Protocol):
    """What a model is trained on; the order depends on the seed and the step alone."""

    def training(self, step: int) -> Tensor:
        """What is drawn for one step."""

    def validation(self) -> list[Tensor]:
        """The same every time, in batches of the training size."""

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and targets, (batch, train_length) each; targets of UNSCORED do not count."""


class Batches:
    """Training and validation windows; every batch takes equal shares of the sources."""

    def __init__(self, corpus: Corpus, recipe: Recipe, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        self._ahead, self._starts = -1, list[Tensor]()
        size = recipe.train_length + 1
        self._train = [_Pool(s.name, s.tokens, s.lengths, size, device) for s in corpus.sources]
        self._validation = [
            _Pool(
                f"{s.name}'s validation part",
                s.validation_tokens,
                s.validation_lengths,
                size,
                device,
            )
            for s in corpus.sources
        ]
        if recipe.batch % len(self._train):
            raise UsageError(
                f"batch is {recipe.batch}; it must be a multiple of the "
                f"{len(self._train)} text sources, which take equal shares"
            )

    def training(self, step: int) -> Tensor:
        """The windows of one step, int64 (batch, train_length + 1)."""
        ahead = step // DRAWN_AHEAD
        if ahead != self._ahead:
            keys = [(self._recipe.seed, ahead * DRAWN_AHEAD + i) for i in range(DRAWN_AHEAD)]
            share = self._recipe.batch // len(self._train)
            self._starts = [
                torch.stack([pool.starts(key, share) for key in keys]).to(self._device)
                for pool in self._train
            ]
            self._ahead = ahead
        at = step % DRAWN_AHEAD
        return torch.cat(
            [
                pool.windows(starts[at])
                for pool, starts in zip(self._train, self._starts, strict=True)
            ]
        )

    def validation(self) -> list[Tensor]:
        """The same windows every time, in batches of the training size."""
        count = math.ceil(self._recipe.validation_windows / self._recipe.batch)
        share = self._recipe.batch // len(self._validation)
        return [
            torch.cat([pool.windows(pool.starts((index,), share)) for pool in self._validation])
            for index in range(count)
        ]

    def split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Every token's target is the next."""
        return drawn[:, :-1], drawn[:, 1:]


class _Pool:
    """Tokens of one source on the device, and where windows in it can start."""

    def __init__(
        self,
        name: str,
        tokens: np.ndarray[Any, np.dtype[np.uint16]],
        lengths: np.ndarray[Any, np.dtype[np.int64]],
        size: int,
        device: torch.device,
    ) -> None:
        self._lengths, self._size = lengths, size
        self._running, self._count = window_starts(lengths, size)
        if self._count == 0:
            raise UsageError(
                f"no file of {name} is {size} tokens long; give longer texts or a shorter length"
            )
        self._tokens = torch.from_numpy(tokens.astype(np.int32)).to(device)
        self._window = torch.arange(size, device=device)

    def starts(self, key: tuple[int, ...], count: int) -> Tensor:
        """`count` positions drawn with the key alone, (count,), on the CPU."""
        drawn = np.random.default_rng(key).integers(0, self._count, size=count)
        return torch.from_numpy(window_offsets(self._lengths, self._running, drawn))

    def windows(self, starts: Tensor) -> Tensor:
        index = starts.to(self._window.device)[:, None] + self._window
        return self._tokens[index].long()


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
        from .cards import card

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
    read = {**read, **own.described(variant)}
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
        self._plain = device.type != "cuda" or variant.function is not None
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


class FreshGradients:
    """A loss of a batch; calling it leaves the gradients in the parameters' `.grad`."""

    def __init__(self, loss: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> None:
        self._loss, self._parameters = loss, parameters

    def __call__(self, batch: Tensor) -> Tensor:
        for weight in self._parameters:
            weight.grad = None
        value = self._loss(batch)
        value.backward()  # type: ignore[no-untyped-call]  # no types in PyTorch
        return value.detach()


class ReplayedGradients(FreshGradients):
    """The same as a CUDA graph: launched from Python, a step at 512 tokens waits for the launches.

    Every batch has the shape of the first.
    """

    _graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None
        self._batch.copy_(batch)
        self._graph.replay()
        return self._value.clone()

    def _capture(self, batch: Tensor) -> None:
        self._batch = batch.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # no types in PyTorch
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is compiled or allocated once must not be captured
            for _ in range(3):
                super().__call__(self._batch)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._value = super().__call__(self._batch)


def compiled_attention(query: Tensor, key: Tensor, value: Tensor, variant: Variant) -> Tensor:
    """Naive attention, for `torch.compile` to fuse; memory grows with L².

    Its scores are float32 from TF32 products, which are exact for bfloat16 inputs: rounding scores
    to bfloat16 would cost p = 15 its meaning. Plain softmax goes to
    `scaled_dot_product_attention`.
    """
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if variant == Variant():
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    with torch.autocast(query.device.type, enabled=False):
        mixed = reference.attention(query.float(), key.float(), value.float(), variant)
        return mixed.to(value.dtype)
