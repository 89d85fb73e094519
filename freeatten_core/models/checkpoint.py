"""The checkpoint format: a folder with five files, loaded strictly, safetensors only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import replacing_folder, write_utf8
from freeatten_core.data.packages import Package, packages_from_json
from freeatten_core.data.tokenizer import read_tokenizer
from freeatten_core.ops.call import Familiar
from freeatten_core.ops.definitions import own_function
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

from .catalogue import file_sha256, is_tokenizer, locate, read_curve, tokenizer_file
from .codec import Codec
from .config import LayerShape, ModelConfig
from .decoder import LOSS_TOKENS, Model, kept_type, parameter_shapes
from .forecast import COPIES, hidden_bytes, on_device, parameter_count, scoring_bytes
from .format import (
    CARD,
    CONFIG,
    CURVE,
    FILES,
    TASK_FILES,
    TOKENIZER,
    WEIGHTS,
    check_files,
    check_floats,
    config_json,
    read_config,
    read_json,
    read_task,
)
from .interface import EnoughError, Observe, Undone
from .modifiers import Temperatures
from .parts import reporting
from .single_heads import DecoderSingleHeads

__all__ = ["Checkpoint", "load_checkpoint", "load_model", "save_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with what is needed to use and to trust it."""

    name: str
    """The shipped name, hub repository or folder it was loaded from."""
    config: ModelConfig
    model: Model
    tokenizer: Tokenizer
    folder: Path

    @property
    def variant(self) -> Variant:
        """What its attention computes, without modifiers."""
        return self.config.variant

    @property
    def vocab_size(self) -> int:
        """Ids that it knows."""
        return self.config.vocab_size

    @property
    def train_length(self) -> int:
        """Tokens that it was trained on."""
        return self.config.train_length

    @property
    def declared_length(self) -> None:
        """None: what it was trained on is known."""
        return None

    @property
    def known_length(self) -> int:
        """What it was trained on."""
        return self.train_length

    @property
    def restart_length(self) -> int:
        """What it was trained on."""
        return self.train_length

    @property
    def codec(self) -> Codec:
        """From text to ids and back."""
        return Codec(self.tokenizer, spells=True)

    @property
    def layers(self) -> Mapping[int, LayerShape]:
        """All of them, by number; of shared layers every pass that the training length takes."""
        shapes, passes = self.config.shapes, self.config.passes(self.config.train_length)
        return {number: shapes[layer] for number, (layer, _) in enumerate(passes)}

    @property
    def takes_window(self) -> bool:
        """Yes."""
        return True

    @property
    def maps_refused(self) -> None:
        """None: every layer can be looked into."""
        return None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.embedding.weight.device

    @property
    def uses_operator(self) -> bool:
        """Yes."""
        return True

    def packages(self) -> list[Package]:
        """Packages that it lists; none where its curve is of another's making.

        Raises:
            ContentError: the curve is not readable, or names a list that is not here.
        """
        try:
            sources = self.curve()["text"]["sources"]
            return [package for each in sources for package in packages_from_json(each["packages"])]
        except (LookupError, TypeError):
            return []

    def check_length(self, length: int) -> None:
        """Nothing: a text can be of any length."""

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens as they are: none begins every text."""
        return tokens

    def pass_bytes(self, length: int) -> int:
        """Temporaries of a pass over so many tokens, without attention's own."""
        return hidden_bytes(self.config, length, length)

    def scoring_bytes(
        self,
        variant: Variant,
        tokens: int,
        length: int,
        device: torch.device,  # noqa: ARG002  (of the interface)
        dtype: torch.dtype,
    ) -> int:
        """Peak of a pass that scores every token, with the weights of two models."""
        weights = COPIES * dtype.itemsize * parameter_count(self.config)
        return weights + scoring_bytes(self.config, variant, tokens, length, dtype.itemsize)

    def score_count(self, length: int) -> int:
        """Scores of a pass over so many tokens; a dilated row sees few keys at any length."""
        dilate, seen = self.config.variant.setting.dilate, length * (length + 1) // 2
        if dilate is not None:
            seen = min(seen, length * dilate.keys)
        return len(self.config.passes(length)) * self.config.score_heads * seen

    def type_for(self, dtype: torch.dtype) -> torch.dtype:
        """The one that is asked for."""
        return dtype

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Checkpoint:
        """The checkpoint there and in that type, or its own: itself where it is so, else a copy."""
        there = on_device(self.model, device)
        if dtype not in (None, there.embedding.weight.dtype):
            there = there.copied(device, dtype)
        return replace(self, model=there)

    def with_modifiers(
        self,
        variant: Variant,
        longest: int,
        restart: int | None = None,  # noqa: ARG002  (of the interface)
        temperatures: Temperatures | None = None,
    ) -> Checkpoint:
        """The same weights with a variant's modifiers; see `Model.with_modifiers`."""
        return replace(self, model=self.model.with_modifiers(variant, longest, temperatures))

    def undoing(self, what: Undone, variant: Variant, longest: int) -> Checkpoint:
        """The same weights with a variant's modifiers and a thing undone in every head."""
        model = self.model.with_modifiers(variant, longest)
        rope = model.rope
        if what == "window":
            model.attend = partial(model.attend, window=rope.train_length)
        else:
            parts = what.split("+")
            familiar = Familiar(rope, rotation="rotation" in parts, scale="scale" in parts)
            model.attend = partial(model.attend, familiar=familiar)
        return replace(self, model=model)

    def single_heads(self, tokens: Tensor, window: int) -> DecoderSingleHeads:
        """A text (1, L + 1) to be scored with one head windowed at a time."""
        return DecoderSingleHeads(self.model, tokens, window)

    def head_share(self, layer: int) -> float:
        """Of a pass, what is computed again with one head of a layer windowed."""
        return (self.config.layers - layer) / self.config.layers

    def token_losses(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        """Nats per target; see `Model.token_losses`."""
        return self.model.token_losses(tokens, targets, start)

    def not_finite_logits(self, tokens: Tensor) -> int:
        """How many logits of texts (B, L) are not finite."""
        hidden = self.model.hidden(tokens.to(self.device)).flatten(0, 1)
        parts = torch.split(hidden, LOSS_TOKENS)
        return sum(int((~self.model.logits(part).isfinite()).sum()) for part in parts)

    def run(self, tokens: Tensor, observe: Observe, advance: Callable[[float], None]) -> None:
        """Pass texts (B, L) through the layers and show each; see `LanguageModel.run`."""
        model = reporting(self.model, advance)
        with suppress(EnoughError):
            model.hidden(tokens.to(self.device), observe=observe)

    def curve(self) -> dict[str, Any]:
        """The learning curve and the texts it was trained on, from `curve.json`."""
        return read_curve(self.folder)


def load_checkpoint(source: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a shipped name (or a variant's name), a folder, or a Hugging Face repository.

    The weights are kept in float32 whatever the file holds.

    Raises:
        UsageError: nothing of that name exists, it was trained on a task and reads no text, or
            it computes a function of one's own that was not named.
        ContentError: it exists and is not a checkpoint in this format, strictly: missing or
            extra tensors, wrong shapes or types, a weight file that is not safetensors, keys of
            the config that are not known here, a tokenizer that changes text or is another model's.
    """
    device = usable_device(device)
    name, folder = locate(source)
    check_files(name, folder, [CONFIG])
    if read_task(folder / CONFIG) is not None:
        raise UsageError(
            f"checkpoint {name} was trained on a task and reads no text; freeatten retrieve "
            "--task recall measures it"
        )
    check_files(name, folder, TASK_FILES, FILES)  # its tokenizer may be the shipped one
    letters = tokenizer_file(name, folder)
    config = read_config(folder / CONFIG)
    model = load_model(folder, config, device)
    tokenizer = read_tokenizer(letters)
    _check_vocabulary(name, folder, letters, tokenizer, config.vocab_size)
    return Checkpoint(name, config, model, tokenizer, folder)


def load_model(folder: Path, config: ModelConfig, device: str | torch.device) -> Model:
    """The model of a checkpoint folder, for inference; errors as `load_checkpoint`."""
    if isinstance(config.variant.computes, OwnFunctionName):
        sha256 = read_json(folder / CONFIG).get("function_sha256")
        own_function.check_source(str(folder), config.variant.computes, sha256)
    weights = _read_weights(folder / WEIGHTS, parameter_shapes(config))
    with torch.device("meta"):
        model = Model(config)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.requires_grad_(False).eval().to(device)


def save_checkpoint(
    folder: Path,
    model: Model,
    tokenizer: Tokenizer | None,
    *,
    seed: int,
    steps: int,
    curve: Mapping[str, Any],
    card: str,
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write all files, or none: the folder appears when it is complete, and replaces nothing.

    Args:
        tokenizer: None for a model whose tokens are not text.
        task: what it was trained on instead, for `config.json`.

    Raises:
        SavedElsewhereError: something is at `folder`; it says where the checkpoint is.
        ContentError: the disk is full or the folder cannot be written.
    """
    weights = {
        name: weight.detach().to("cpu", kept_type(name)).contiguous()
        for name, weight in model.named_parameters()
    }
    with replacing_folder(folder) as temporary:
        try:
            save_file(weights, temporary / WEIGHTS)
            if tokenizer is not None:
                tokenizer.save(str(temporary / TOKENIZER), pretty=False)
        except Exception as error:  # both libraries raise types of their own for a full disk
            raise ContentError(f"cannot write {folder}: {error}") from error
        (temporary / WEIGHTS).chmod(0o644)
        config = config_json(model.config, seed=seed, steps=steps)
        config |= {} if task is None else {"task": dict(task)}
        if tokenizer is not None:
            config["tokenizer_sha256"] = file_sha256(temporary / TOKENIZER)
        write_utf8(temporary / CONFIG, json.dumps(config, indent=2) + "\n")
        write_utf8(temporary / CURVE, json.dumps(curve, separators=(",", ":")) + "\n")
        write_utf8(temporary / CARD, card)


def _check_vocabulary(
    name: str, folder: Path, letters: Path, tokenizer: Tokenizer, vocab_size: int
) -> None:
    """Whether the tokenizer is the one that the model was trained with."""
    size = 1 + max(tokenizer.get_vocab().values(), default=-1)
    trained_with = read_json(folder / CONFIG).get("tokenizer_sha256")
    # checkpoints of earlier versions do not say; they have no embedding that is never read
    if size > vocab_size or (trained_with is None and size < vocab_size):
        raise ContentError(
            f"checkpoint {name}: the tokenizer has {size} tokens, the model {vocab_size}"
        )
    if trained_with is not None and not is_tokenizer(letters, trained_with):
        found = file_sha256(letters)
        raise ContentError(
            f"checkpoint {name}: {TOKENIZER} is not the one that the model was trained with "
            f"(SHA-256 {found[:12]}…, {CONFIG} says {str(trained_with)[:12]}…)"
        )


def _read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Check names, shapes and types in the header first, then read."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            found = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {name: part.get_dtype() for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ContentError(f"{path} is not a whole safetensors file: {error}") from error
    missing, extra = sorted(shapes.keys() - found), sorted(found.keys() - shapes.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"has an extra {extra[0]}"
        raise ContentError(f"{path} {what}; it must hold exactly the model's tensors")
    for name, shape in shapes.items():
        if found[name] != shape:
            raise ContentError(
                f"{path}: {name} has shape {found[name]}; the config asks for {shape}"
            )
    check_floats(path, types)
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ContentError(f"{path} holds weights that are not finite in float32: {name}")
    return weights
