"""`freeatten train`: train one variant by the recipe and save a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..logs import check_log, logged
from ..options import Device, Quiet, check_choice, command_line
from ..ranks import joined, start_ranks

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from freeatten_core.basics.distributed import Ranks
    from freeatten_core.training.recipe import Recipe
    from freeatten_core.training.reports import Progress
    from freeatten_core.training.start import Start
    from freeatten_core.variants.variant import Variant

    from ..terminal.learning import LearningView

__all__ = ["train"]

Sources = Annotated[
    list[str] | None,
    typer.Option(
        help="A file or folder, or 'packages' for the installed Python packages; repeat it: "
        "every batch takes equal shares."
    ),
]
Task = Annotated[
    str,
    typer.Option(
        help="text; for freeatten retrieve: recall, mqar, forgetting, passkey, flip-flop; or a "
        "regular language (freeatten languages --help)."
    ),
]
LearningRates = Annotated[
    str | None,
    typer.Option(help="Peak learning rate; of several (1e-3,3e-3) the best in short runs."),
]
Optimizer = Annotated[
    str | None,
    typer.Option(help="adamw, or muon for the matrices between hidden states; default: adamw."),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="How the rate falls: linear, cosine, or wsd, in the last fifth; default: linear."
    ),
]
EvaluateEvery = Annotated[int | None, typer.Option(min=1, help="Steps between validations.")]
SaveEvery = Annotated[
    int | None, typer.Option(min=1, help="Steps between saved states, at an evaluation.")
]
Parts = Annotated[
    int | None,
    typer.Option(min=1, help="Parts that a batch is computed in, for less memory; default: 1."),
]
Gpus = Annotated[
    int | None,
    typer.Option(min=1, help="Processes, one a GPU, each with its share of every batch."),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="small (25 million parameters) or medium (105 million), at 1,024 tokens; options "
        "beside it change it further. By default the shipped models' 3 million."
    ),
]
Shard = Annotated[
    bool,
    typer.Option(help="With --gpus: each process holds a part of the model, which is too large."),
]
LogTo = Annotated[
    str | None,
    typer.Option(
        "--log",
        help="tensorboard or trackio: keep losses for it too, on this machine; an extra of the "
        "package each.",
    ),
]
TokenizerOf = Annotated[
    str | None,
    typer.Option(
        help="A checkpoint whose tokenizer to take, instead of learning one: losses are then in "
        "the same tokens as its."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="A checkpoint to train on: its weights, size and tokenizer; what only the variant "
        "has is drawn.",
    ),
]
Corpus = Annotated[
    Path | None,
    typer.Option(help="Keep prepared text here, or take from here what is of the same texts."),
]


@dataclass(frozen=True)
class _Where:
    """What computes a training."""

    device: torch.device
    ranks: Ranks
    shard: bool
    """Whether every rank holds a part of the model."""
    log: str | None
    """What keeps the losses too."""

    def logged(
        self, out: Path, recipe: Recipe, view: LearningView
    ) -> AbstractContextManager[Callable[[Progress], None]]:
        """What a training reports to; of several ranks one keeps it."""
        kind = self.log if self.ranks.writes else None
        return logged(kind, out, asdict(recipe), view.progress)


@dataclass(frozen=True)
class _Texts:
    """What a training reads, as it was asked for."""

    sources: list[str]
    corpus: Path | None
    """Where prepared text is kept."""
    tokenizer_of: str | None
    """The checkpoint whose tokenizer is taken."""
    trained_on: str | None
    """The checkpoint that is trained on."""

    def start(self) -> Start | None:
        """What the training begins with; None where all weights are drawn."""
        from freeatten_core.models.checkpoint import load_checkpoint
        from freeatten_core.training.start import Start

        return None if self.trained_on is None else Start.of(load_checkpoint(self.trained_on))

    def tokenizer(self) -> Tokenizer | None:
        """The one to take; None where one is to be learned."""
        from freeatten_core.data.tokenizer import read_tokenizer
        from freeatten_core.models.catalogue import locate, tokenizer_file

        source = self.trained_on or self.tokenizer_of
        if source is None:
            return None
        return read_tokenizer(tokenizer_file(*locate(source)))


def train(
    variant: Annotated[
        str, typer.Option(help="What to train, such as lssar:p=15, or FILE.py:NAME.")
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make.")],
    text: Sources = None,
    task: Task = "text",
    size: Size = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; default: the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Windows a step.")] = None,
    length: Annotated[int | None, typer.Option(min=8, help="Training length, tokens.")] = None,
    width: Annotated[int | None, typer.Option(min=2, help="Model width.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads.")] = None,
    vocab: Annotated[int | None, typer.Option(min=256, max=65536, help="Tokens to learn.")] = None,
    tokenizer: TokenizerOf = None,
    from_: From = None,
    lr: LearningRates = None,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    search_steps: Annotated[int | None, typer.Option(min=1, help="Steps of a short run.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and data order.")] = 0,
    evaluate_every: EvaluateEvery = None,
    save_every: SaveEvery = None,
    corpus: Corpus = None,
    parts: Parts = None,
    gpus: Gpus = None,
    shard: Shard = False,
    log: LogTo = None,
    quiet: Quiet = False,
    device: Device = "auto",
) -> None:
    """Train a model; killed, it goes on where it was when the command is run again."""
    if gpus is not None:
        start_ranks(gpus, device)
        return
    changes = {
        "steps": steps,
        "batch": batch,
        "train_length": length,
        "width": width,
        "layers": layers,
        "heads": heads,
        "vocab_size": vocab,
        "learning_rates": lr,
        "optimizer": optimizer,
        "schedule": schedule,
        "search_steps": search_steps,
        "evaluate_every": evaluate_every,
        "save_every": save_every,
        "parts": parts,
    }
    with joined(device) as (ranks, chosen):
        where = _Where(chosen, ranks, shard, log)
        texts = _Texts(text or [], corpus, tokenizer, from_)
        _train(variant, task, size, texts, out, seed, changes, where, quiet=quiet)


def _train(
    name: str,
    task: str,
    size: str | None,
    texts: _Texts,
    out: Path,
    seed: int,
    changes: dict[str, Any],
    where: _Where,
    *,
    quiet: bool,
) -> None:
    from freeatten_core.basics.files import check_utf8
    from freeatten_core.ops.definitions import own_function
    from freeatten_core.variants.variant import Variant

    from ..terminal.learning import LearningView

    _check_task(task, size, texts, changes["vocab_size"])
    check_log(where.log)
    variant = own_function.allow(Variant.parse(name))
    tokenizer, start = texts.tokenizer(), texts.start()
    if tokenizer is not None:
        changes = {**changes, "vocab_size": tokenizer.get_vocab_size()}
    recipe = _recipe(task, size, seed, start, **changes)
    if start is not None:
        start.check(recipe.config(variant))
    for folder in filter(None, (out, texts.corpus)):
        check_utf8(folder)
    view = LearningView(variant, quiet=quiet, silent=not where.ranks.writes)
    if task == "text":
        run = partial(_train_text, variant, texts, tokenizer, start, out, recipe, where, view)
    else:
        run = partial(_train_task, variant, task, out, recipe, where, view)
    _run(run, variant, out, view, where.ranks)


def _check_task(task: str, size: str | None, texts: _Texts, vocab: int | None) -> None:
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.data.tasks.table import TASKS

    check_choice("task", task, ("text", *TASKS))
    taken = texts.tokenizer_of or texts.trained_on
    if task != "text" and (texts.sources or texts.corpus or vocab or taken):
        raise UsageError(
            "--text, --corpus, --vocab, --tokenizer and --from are for --task text; "
            f"{task} makes its own"
        )
    if task == "text" and not texts.sources:
        raise UsageError("--text is missing: name a file, a folder or packages to train on")
    if vocab is not None and texts.tokenizer_of is not None:
        raise UsageError(
            f"--vocab {vocab} is of a tokenizer to be learned, --tokenizer takes that of "
            f"{texts.tokenizer_of}; leave one of them out"
        )
    if texts.trained_on is not None and (size or vocab or texts.tokenizer_of):
        raise UsageError(
            f"--from {texts.trained_on} is trained on as it is, with its size and tokenizer; leave "
            "out --size, --vocab and --tokenizer"
        )


def _recipe(task: str, size: str | None, seed: int, start: Start | None, **changes: Any) -> Recipe:
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.training.recipe import SIZES, Recipe
    from freeatten_core.training.tasks import RECIPES

    usual = Recipe() if task == "text" else RECIPES[task]
    if size is not None:
        check_choice("size", size, tuple(SIZES))
        if task != "text":
            raise UsageError(f"--size is for --task text; models of {task} have their own size")
        usual = usual.changed(**SIZES[size])
    if start is not None:
        usual = replace(usual, **start.sizes)
    return replace(usual, seed=seed).changed(**changes)


def _run(
    train: Callable[[], None], variant: Variant, out: Path, view: LearningView, ranks: Ranks
) -> None:
    """Train in a folder that no other call trains in, and clear up behind it."""
    from freeatten_core.basics.files import SavedElsewhereError
    from freeatten_core.training.run import reserved

    with reserved(variant, out, ranks):
        try:
            train()
        except SavedElsewhereError as error:
            _finish(view, out, error.place)
            raise
        if ranks.writes:
            _finish(view, out, out)


def _finish(view: LearningView, out: Path, saved: Path) -> None:
    from freeatten_core.data.prepared import remove_corpus

    remove_corpus(_temporary_corpus(out))
    view.finish(saved)


def _foresee(recipe: Recipe, variant: Variant, where: _Where, view: LearningView) -> None:
    """Say what the training will take, or refuse it, before text is prepared."""
    from freeatten_core.models.forecast import parameter_count
    from freeatten_core.training.forecast import check_fits, forecast
    from freeatten_core.training.updates import check_optimizer

    check_optimizer(recipe, shard=where.shard)
    check_fits(recipe, variant, where.device, where.ranks, shard=where.shard)
    if not view.quiet:
        found = forecast(recipe, variant, where.device, where.ranks, shard=where.shard)
        view.forecast(found, parameter_count(recipe.config(variant)), where.ranks.count)


def _train_task(
    variant: Variant,
    task: str,
    out: Path,
    recipe: Recipe,
    where: _Where,
    view: LearningView,
) -> None:
    from freeatten_core.data.tasks.table import TASKS
    from freeatten_core.training.tasks import train_task

    _foresee(recipe, variant, where, view)
    with where.logged(out, recipe, view) as report:
        train_task(
            variant,
            TASKS[task],
            out,
            recipe,
            device=where.device,
            command=command_line(),
            report=report,
            ranks=where.ranks,
            shard=where.shard,
        )


def _train_text(
    variant: Variant,
    given: _Texts,
    tokenizer: Tokenizer | None,
    start: Start | None,
    out: Path,
    recipe: Recipe,
    where: _Where,
    view: LearningView,
) -> None:
    from freeatten_core.data.packages import check_sources
    from freeatten_core.data.prepared import prepared
    from freeatten_core.training.run import train as run
    from freeatten_core.training.state import kept_folder, state_path

    check_sources(given.sources)
    _foresee(recipe, variant, where, view)
    ranks = where.ranks
    if not ranks.writes:
        ranks.wait()  # for the text that rank 0 prepares
    texts = prepared(
        given.sources,
        given.corpus or _temporary_corpus(out),
        vocab_size=recipe.vocab_size,
        tokenizer=tokenizer,
        # without a state to go on from, it is the leftover of a call that failed
        replace=ranks.writes and given.corpus is None and kept_folder(state_path(out)) is None,
        report=view.note,
    )
    if ranks.writes:
        ranks.wait()
    with where.logged(out, recipe, view) as report:
        run(
            variant,
            texts,
            out,
            recipe,
            device=where.device,
            command=command_line(),
            report=report,
            ranks=where.ranks,
            shard=where.shard,
            start=start,
        )


def _temporary_corpus(out: Path) -> Path:
    """Where prepared text is kept while a run goes on."""
    return out.with_name(f".{out.name}.corpus")
