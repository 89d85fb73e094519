"""Models, checkpoints and texts small enough to train and score in a fraction of a second."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer

from freeatten_core import Variant
from freeatten_core.data.documents import Document
from freeatten_core.data.tokenizer import train_tokenizer
from freeatten_core.models.checkpoint import save_checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.training.recipe import Recipe

SENTENCE = """the a small grey cat dog boat river house morning evening sees finds keeps leaves
under over beside behind old new quiet bright window garden letter stone and then while"""

CONFIG = ModelConfig(
    variant=Variant(),
    train_length=16,
    vocab_size=300,
    width=16,
    layers=2,
    heads=2,
    kv_heads=2,
    mlp_width=32,
    rope_base=10_000.0,
)

RECIPE = Recipe(
    train_length=16,
    width=16,
    layers=1,
    heads=2,
    kv_heads=2,
    mlp_width=32,
    vocab_size=300,
    batch=8,
    steps=40,
    warmup=4,
    learning_rates=(1e-2,),
    search_steps=6,
    evaluate_every=10,
    validation_windows=8,
    save_every=10,
)


def prose(seed: int = 0, words: int = 200) -> str:
    """Sentences of a few words, the same for the same seed."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choices(SENTENCE.split(), k=8)) + "." for _ in range(max(1, words // 8))]
    return "\n".join(lines) + "\n"


def documents(count: int = 4, words: int = 200) -> list[Document]:
    return [Document(f"{index}.txt", prose(index, words)) for index in range(count)]


def write_folder(folder: Path, files: int = 60, words: int = 120) -> Path:
    """A folder of text files, in enough of them for a validation part."""
    folder.mkdir(parents=True)
    for index in range(files):
        (folder / f"{index:03}.txt").write_text(prose(index, words))
    return folder


def tokenizer(vocab_size: int = CONFIG.vocab_size) -> Tokenizer:
    """One of the test's own: tokens that it adds are in no other test."""
    return Tokenizer.from_str(_trained(vocab_size))


@cache
def _trained(vocab_size: int) -> str:
    texts = [prose(seed, 400) for seed in range(100, 104)]
    return str(train_tokenizer(texts, vocab_size).to_str())


def model(variant: str = "softmax", seed: int = 0, scale: float = 10.0, **changes: int) -> Model:
    """A model whose weights are large enough for its context to matter."""
    built = Model(replace(CONFIG, variant=Variant.parse(variant), **changes))
    built.initialise(seed)
    with torch.no_grad():
        for weight in built.parameters():
            weight.mul_(scale if weight.ndim > 1 else 1.0)
    return built.requires_grad_(False).eval()


def save(folder: Path, built: Model | None = None, letters: Tokenizer | None = None) -> Path:
    """A checkpoint folder of a model."""
    built = built or model()
    curve = {"curve": [{"step": 1, "loss": 5.0, "validation": 5.0}], "text": {"sources": []}}
    save_checkpoint(
        folder, built, letters or tokenizer(), seed=0, steps=1, curve=curve, card="# a card\n"
    )
    return folder


@contextmanager
def disk_full(after: int = 500) -> Iterator[None]:
    """No file can grow beyond so many bytes: the system itself refuses to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())
