"""`python -m penstock` is the command line."""

from penstock.cli.app import main

main()
