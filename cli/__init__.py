"""The `freeatten` command, installed as `freeatten_cli`."""
