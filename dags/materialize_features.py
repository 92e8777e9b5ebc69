"""Fills the online feature store again from the history: Redis may lose everything, and holds it again after this.

Starts when the stream has told the first minute of a new hour, so never without traffic; the pusher keeps the features
fresh in between. By hand: `python -m feature_repo materialize --hours 24`.
"""

from datetime import timedelta

from airflow.sdk import Asset, AssetWatcher, Param

from dags.running import Command, described
from dags.watching import CONNECTION, HourBegins

HOUR_BEGAN = Asset(
    "tokenledger://features/hour",
    watchers=[
        AssetWatcher(
            name="hour_of_features", trigger=HourBegins(topics=["llm.features.v1"], kafka_config_id=CONNECTION)
        )
    ],
)

with described(
    "materialize_features",
    __doc__,
    schedule=[HOUR_BEGAN],
    dagrun_timeout=timedelta(minutes=30),
    tags=["operations", "features"],
    params={"hours": Param(24, type="integer", minimum=1, maximum=48, title="How far back, in hours")},
):
    Command(
        words=("feature_repo", "materialize"),
        options={"--hours": "{{ params.hours }}"},
        task_id="materialize",
        pool="heavy",
        execution_timeout=timedelta(minutes=15),
    )
