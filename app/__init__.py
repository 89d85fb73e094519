"""freeatten in the browser, installed as `freeatten_app`."""
