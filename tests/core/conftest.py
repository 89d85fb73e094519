import pytest
from hypothesis import settings

from freeatten_core.ops.backends.panels import panel

settings.register_profile("core", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("core")


@pytest.fixture
def small_panels(monkeypatch):
    """Cut even short sequences into many blocks of rows and of heads."""
    monkeypatch.setattr(panel, "PANEL_ELEMENTS", 600)
    monkeypatch.setattr(panel, "PANEL_ROWS", 23)
