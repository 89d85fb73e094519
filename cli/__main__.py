"""`python -m freeatten_cli`, as torchrun starts it."""

from .start import main

main()
