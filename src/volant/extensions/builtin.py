"""This server in the roles that FuseML's workflows ask for by product and resource.

The ids are those that FuseML's installer gave its extensions. Whoever registers one by the
same id, or any other that matches, is preferred.
"""

from __future__ import annotations

from volant.domain.extension import Credentials, Endpoint, EndpointType, Extension, Service

MLFLOW = "3.17.2"  # the release whose REST API the MLflow door speaks
OWN_CREDENTIALS = "step"  # whose secrets are made for each step, and are stored nowhere


def built_in(url: str) -> tuple[Extension, ...]:
    """The records, for a server at `url`."""
    return (
        Extension(
            id="mlflow",
            product="mlflow",
            version=MLFLOW,
            description="Experiments and models, in MLflow's API on this server.",
            services=(_tracking(url), _store(url)),
            builtin=True,
        ),
        _serving(url, "kserve", "kserve", "kserve-api"),
        _serving(url, "kfserving", "kfserving", "kfserving-api"),
        _serving(url, "seldon-core", "seldon-core", "seldon-core-api"),
        _serving(url, "ovms", "openvino-model-server", "ovms-operator"),
    )


def _tracking(url: str) -> Service:
    endpoint = Endpoint(url, EndpointType.INTERNAL, {"MLFLOW_TRACKING_URI": url})
    return Service(
        id="mlflow-tracking",
        resource="mlflow-tracking",
        category="experiment-tracking",
        description="Tracking and model registry.",
        endpoints=(endpoint,),
        credentials=(Credentials(OWN_CREDENTIALS, configuration={"MLFLOW_TRACKING_TOKEN": ""}),),
    )


def _store(url: str) -> Service:
    # Artifacts go through the tracking server: there is no bucket to know of. The key is
    # there, without a value, as FuseML's workflows name it in expressions.
    return Service(
        id="mlflow-store",
        resource="s3",
        category="model-store",
        description="Artifacts, by way of the tracking server.",
        endpoints=(Endpoint(url, EndpointType.INTERNAL, {"MLFLOW_S3_ENDPOINT_URL": ""}),),
    )


def _serving(url: str, extension_id: str, product: str, resource: str) -> Extension:
    service = Service(
        id="API",
        resource=resource,
        category="prediction-serving",
        description="Deployments on this server.",
        endpoints=(Endpoint(url, EndpointType.INTERNAL),),
    )
    return Extension(
        id=extension_id,
        product=product,
        description=f"What workflows that name {product} deploy to: this server.",
        services=(service,),
        builtin=True,
    )
