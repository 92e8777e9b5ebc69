"""Feast's SDK over our Redis and our Parquet: apply, materialise. For batch jobs, never on a hot path."""

import logging
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from feast import FeatureStore, RepoConfig

from feature_repo.definitions import Definitions, definitions
from feature_repo.offline import History
from feature_repo.settings import PROJECT, RedisSettings
from tokenledger.records.features import VIEWS, FeatureView

_KEEP_S: Final = int(2 * max(view.ttl_us for view in VIEWS) / 1e6)


def opened(folder: Path, redis: RedisSettings) -> FeatureStore:
    """The store in the folder, as it was applied last."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "project": PROJECT,
        "provider": "local",
        # Read once a process: whoever applies anew starts anew.
        "registry": {"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
        "online_store": {
            "type": "redis",
            "connection_string": connection_string(redis),
            "key_ttl_seconds": _KEEP_S,
            # It would look at every key there is; the pusher removes what no view has any more.
            "full_scan_for_deletion": False,
        },
        "offline_store": {"type": "dask"},
        "entity_key_serialization_version": 3,
        "auth": {"type": "no_auth"},
    }
    return FeatureStore(config=RepoConfig(**config, repo_path=folder))


def connection_string(redis: RedisSettings) -> str:
    """As Feast parses it; a comma or a number in a password would be misread, so ours are letters."""
    parts = [f"{redis.host}:{redis.port}"]
    if redis.socket:
        parts.append(f"unix_socket_path={redis.socket}")
    if password := redis.password():
        parts += [f"username={redis.user}", f"password={password}"]
    return ",".join(parts)


def apply(store: FeatureStore, folder: Path, *, views: Sequence[FeatureView] = VIEWS) -> Definitions:
    """The registry holds exactly today's definitions."""
    History(folder, keep_days=0, views=views).prepare()
    wanted = definitions(folder, views)
    kept = {thing.name for thing in wanted.all()}
    there: list[Any] = [
        *store.list_feature_services(),
        *store.list_feature_views(),
        *store.list_data_sources(),
        *(entity for entity in store.list_entities() if entity.name != "__dummy"),
    ]
    gone = [thing for thing in there if thing.name not in kept]
    store.apply(wanted.all(), objects_to_delete=gone, partial=not gone)
    return wanted


def materialize(store: FeatureStore, *, since: timedelta) -> None:
    """The newest value of every entity goes from the history to Redis, where that has none as new."""
    now = datetime.now(UTC)
    logging.getLogger("feast").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Dask about its own use of pandas.
        warnings.simplefilter("ignore", FutureWarning)
        store.materialize(now - since, now)
