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


class Made(dict):
    """What is made when it is first asked for, by name."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def __missing__(self, name):
        self[name] = self.make(name)
        return self[name]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of tiny models of the transformers library, by architecture."""
    import causal

    root = tmp_path_factory.mktemp("causal")
    return Made(lambda name: causal.save(root / name, causal.network(name)))


@pytest.fixture(scope="session")
def models(folders):
    """The same, loaded; no test changes them."""
    from freeatten_core.models.transformers_model import load_causal_model

    return Made(lambda name: load_causal_model(str(folders[name])))
