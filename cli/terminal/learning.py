"""The learning curve in the terminal, on standard error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from freeatten_core.basics.progress import about

from .chart import line_chart

if TYPE_CHECKING:
    from freeatten_core.models.forecast import Forecast
    from freeatten_core.training.reports import Progress
    from freeatten_core.variants.variant import Variant

__all__ = ["LearningView"]


class LearningView:
    def __init__(self, variant: Variant, *, quiet: bool = False, silent: bool = False) -> None:
        """`quiet` leaves out progress, `silent` everything: another rank speaks for all."""
        self._console = Console(stderr=True, quiet=silent)
        self.quiet = quiet
        self._variant = variant
        self._curve: list[tuple[float, float]] = []

    def line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def note(self, text: str) -> None:
        """A line on the way, of text that is prepared."""
        if not self.quiet:
            self.line(text)

    def forecast(self, forecast: Forecast, parameters: int, processes: int = 1) -> None:
        """What the training will take, before it starts."""
        time = "" if forecast.seconds is None else f" and {about(forecast.seconds)}"
        where = "" if processes == 1 else f" in each of {processes} processes"
        self.line(
            f"{self._variant}, {parameters / 1e6:,.1f} million parameters, needs "
            f"{forecast.bytes / 1e9:.1f} GB{where}{time}"
        )

    def progress(self, progress: Progress) -> None:
        if self.quiet:
            return
        if progress.phase == "start":
            speed = f"{progress.tokens_per_second:,.0f} tokens/s"
            left = about(self._seconds_left(progress))
            self.line(f"{self._variant} after {progress.step} steps: {speed}, {left} left")
            return
        self.line(
            f"{self._variant} {progress.phase} {progress.step}/{progress.steps}  "
            f"lr {progress.learning_rate:g}  loss {progress.loss:.4f}  "
            f"validation {progress.validation:.4f}  "
            f"{progress.tokens_per_second:,.0f} tokens/s{self._left(progress)}"
        )
        if progress.phase == "train":
            self._curve.append((progress.step, progress.validation))

    def finish(self, out: Path) -> None:
        if len(self._curve) > 1:
            steps, losses = zip(*self._curve, strict=True)
            title = f"{self._variant}: validation loss (nats per token) by step"
            chart = line_chart({str(self._variant): (steps, losses)}, title, self._console.width)
            self._console.print(Text.from_ansi(chart))
        self.line(f"saved {out}")

    def _left(self, progress: Progress) -> str:
        """Of the training; a trial of a learning rate is reported at its end."""
        if progress.phase != "train":
            return ""
        return f"  {self._seconds_left(progress):.0f} s left"

    @staticmethod
    def _seconds_left(progress: Progress) -> float:
        seconds_a_step = progress.tokens_per_step / progress.tokens_per_second
        return (progress.steps - progress.step) * seconds_a_step
