"""What can be searched, and how it may be spelled: MLflow's words."""

from __future__ import annotations

from volant.domain.query import Vocabulary

_ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}

RUNS = Vocabulary(
    entities={**_ENTITIES, "dataset": "dataset", "datasets": "dataset"},
    texts=frozenset({"run_id", "run_name", "status", "artifact_uri", "user_id"}),
    numbers=frozenset({"start_time", "end_time"}),
    aliases={
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    fixed={"dataset": frozenset({"name", "digest", "context"})},
)

EXPERIMENTS = Vocabulary(
    entities={
        **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
        **dict.fromkeys(("tag", "tags"), "tag"),
    },
    texts=frozenset({"name", "experiment_id"}),
    numbers=frozenset({"creation_time", "last_update_time"}),
    free={"tag": "text"},
)

LOGGED_MODELS = Vocabulary(
    entities=_ENTITIES,
    texts=frozenset(
        {
            "model_id",
            "name",
            "model_name",
            "model_type",
            "status",
            "source_run_id",
            "experiment_id",
        }
    ),
    numbers=frozenset({"creation_timestamp", "last_updated_timestamp"}),
    aliases={"creation_time": "creation_timestamp", "last_updated_time": "last_updated_timestamp"},
)
