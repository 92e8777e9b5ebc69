"""The arguments of every command that reads files."""

import argparse

from tokenledger.readers import Options


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """FILES, and what to assume of records that do not say."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="files, folders, patterns, or - for stdin")
    parser.add_argument("--tenant", default="default", help="tenant of records that name none (default: default)")
    parser.add_argument("--provider", metavar="NAME", help="provider of bare replies, such as openai: they name none")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def reading_options(options: argparse.Namespace, *, redact: bool = False) -> Options:
    """How the readers are to read."""
    return Options(tenant_id=options.tenant, provider=options.provider, redact=redact)
