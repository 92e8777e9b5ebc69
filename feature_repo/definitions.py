"""The feature store as Feast sees it, made from `tokenledger.records.features.VIEWS`. Importing Feast takes seconds."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Bool, Float64, Int64, String

from feature_repo.offline import EVENT_AT, KNOWN_AT, folder_of
from tokenledger.records import features as records

_TYPES: Final[dict[type, Any]] = {int: Int64, float: Float64, str: String, bool: Bool}
SERVICES: Final = {
    "router": lambda view: view.join_keys == ("provider", "model"),
    "tenant": lambda view: view.join_keys == ("tenant_id", "feature"),
}
"""Feature service → the views it takes: what a router asks of a model, and what it asks of who calls."""


class Definitions(NamedTuple):
    """Everything that is applied."""

    entities: list[Entity]
    sources: list[PushSource]
    views: list[FeatureView]
    services: list[FeatureService]

    def all(self) -> list[Any]:
        """In the order Feast wants them."""
        return [*self.entities, *self.sources, *self.views, *self.services]


def definitions(folder: Path, views: Sequence[records.FeatureView] = records.VIEWS) -> Definitions:
    """Entities, sources, views and services of a store whose history lies in the folder."""
    names = sorted({name for view in views for name in view.join_keys})
    entities = {name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING) for name in names}
    sources = {view.name: _source(folder, view) for view in views}
    made = {view.name: _view(view, sources[view.name], entities=entities) for view in views}
    services = [
        FeatureService(name=name, features=[made[view.name] for view in views if takes(view)])  # type: ignore[no-untyped-call]
        for name, takes in SERVICES.items()
    ]
    return Definitions(list(entities.values()), list(sources.values()), list(made.values()), services)


def _source(folder: Path, view: records.FeatureView) -> PushSource:
    history = FileSource(
        name=f"{view.name}_history",
        path=str(folder_of(folder, view).absolute()),
        timestamp_field=EVENT_AT,
        created_timestamp_column=KNOWN_AT,
    )
    return PushSource(name=f"{view.name}_push", batch_source=history, description=view.meaning)


def _view(view: records.FeatureView, source: PushSource, *, entities: dict[str, Entity]) -> FeatureView:
    features = [Field(name=name, dtype=_dtype(hint)) for name, hint in get_type_hints(view.record).items()]
    keys = [Field(name=name, dtype=String) for name in view.join_keys]
    return FeatureView(
        name=view.name,
        description=view.meaning,
        entities=[entities[name] for name in view.join_keys],
        ttl=timedelta(microseconds=view.ttl_us),
        schema=[*keys, *features],
        source=source,
    )


def _dtype(hint: Any) -> Any:
    """Feast's type of `int | None`."""
    return next(_TYPES[kind] for kind in get_args(hint) or (hint,) if kind in _TYPES)
