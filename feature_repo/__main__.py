"""`python -m feature_repo apply|materialize`: the feature store from the shell."""

import argparse
import os
import sys
from datetime import timedelta

from redis import RedisError

from feature_repo.settings import RedisSettings, features_folder


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 not so."""
    parser = argparse.ArgumentParser(prog="python -m feature_repo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("apply", help="write the registry from tokenledger.records.features")
    materialize = commands.add_parser("materialize", help="bring the newest values from the history into Redis")
    materialize.add_argument("--hours", type=float, default=24.0, help="how far to look back (default 24)")
    options = parser.parse_args(arguments)
    folder, redis = features_folder(os.environ), RedisSettings.from_environment(os.environ, user="pusher")
    # After the arguments: Feast takes seconds to import.
    from feature_repo import store as stores

    store = stores.opened(folder, redis)
    try:
        applied = stores.apply(store, folder)
        if options.command == "materialize":
            stores.materialize(store, since=timedelta(hours=options.hours))
    except RedisError as error:
        sys.stderr.write(f"redis: {redis.address}: {error}\n")
        return 1
    sys.stdout.write(f"{options.command}: {len(applied.views)} views, {len(applied.services)} services in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
