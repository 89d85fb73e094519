"""From a checkout, `cli`, `app` and `assets` are importable under their installed names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"freeatten_cli": "cli", "freeatten_app": "app", "freeatten_assets": "assets"}

for name, folder in FOLDERS.items():
    if importlib.util.find_spec(name) is None:
        spec = importlib.util.spec_from_file_location(
            name,
            ROOT / folder / "__init__.py",
            submodule_search_locations=[str(ROOT / folder)],
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
