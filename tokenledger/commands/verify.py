"""Prove that the ledger holds every raw record once and that all its sums agree; name every difference.

exit status: 0 the ledger is right; 1 it is not; 2 it could not be compared.
"""

import argparse

from ledger.settings import Settings
from ledger.verify import main
from tokenledger.commands.stack import environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing: the stack's environment says where to look."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    del options
    return main(Settings.from_environment(environment(), user="analyst"))
