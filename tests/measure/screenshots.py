"""The pictures of the app in the README and in docs/tour.md, from the app on shipped checkpoints.

    python tests/measure/screenshots.py [--out assets/images]

Writes app-compare-light.webp and the like: four tabs at desktop width, light and dark, and the map
on a phone. Each is packed as the pages' other pictures are.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freeatten_cli.exports import PAGE_SCALE, page_picture
from served import DRAWN, HERE, PICTURED, READY, Server, browser, looking, tell

from freeatten_core.basics.files import replacing

SETUP = looking(("softmax", "lssar-p15"), 8192)
MOST_BYTES = 200_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    state: str
    """The link's, behind the #."""
    drawn: str
    """Holds when the view is there."""
    top: str
    """The element that the picture begins with."""


COMPARE = Shot(
    "compare", "compare&step=8192", "document.getElementById('chart').dataset.drawn", ".site-bar"
)
MAP = Shot("map", f"map&{SETUP}", PICTURED, ".site-bar")
TOKENS = Shot(
    "phone",
    f"map&{looking(('lssar-p15',), 8192)}&head=layer+4%2C+head+2&q=6000&k=5990&span=16",
    DRAWN,
    "#maps",
)
STAGES = Shot(
    "stages",
    f"stages&{SETUP}&m=1&position=4000",
    "document.getElementById('stage-charts').dataset.drawn",
    "#stages-title",
)
ENTROPY = Shot(
    "entropy",
    f"entropy&{SETUP}&statistic=effective_tokens",
    "document.querySelectorAll('#curves .scatterlayer .trace').length === 2",
    "#entropy-title",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "assets" / "images")
    given = parser.parse_args()
    with Server() as server, browser() as chromium:
        server.first_answer()
        for theme in ("light", "dark"):
            for shot in (COMPARE, MAP, STAGES, ENTROPY):
                picture = taken(chromium, server.address, shot, DESKTOP, theme)
                write(given.out / f"app-{shot.name}-{theme}.webp", picture)
        phone = taken(chromium, server.address, TOKENS, PHONE, "dark")
        write(given.out / f"app-{TOKENS.name}.webp", phone)


def taken(chromium: Any, address: str, shot: Shot, size: dict[str, int], theme: str) -> bytes:
    """A picture of the window, from the shot's first element on."""
    from pages import wait

    page = chromium.new_page(viewport=size, color_scheme=theme, device_scale_factor=PAGE_SCALE)
    page.goto(f"{address}#{shot.state}")
    wait(page, f"window.freeattenApp?.ready && {shot.drawn}", limit=READY)
    page.locator(shot.top).evaluate(
        "(one) => window.scrollTo(0, one.getBoundingClientRect().top - 8)"
    )
    found: bytes = page.screenshot()
    page.close()
    return found


def write(path: Path, picture: bytes) -> None:
    packed = page_picture(picture)
    if len(packed) > MOST_BYTES:
        raise SystemExit(f"{path} would have {len(packed):,} bytes; {MOST_BYTES:,} are allowed")
    with replacing(path) as temporary:
        temporary.write_bytes(packed)
    tell(f"{path.name}: {len(packed) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
