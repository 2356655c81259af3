"""Records of what is running, made from its URL: how it is asked whether it is there, and
what steps are told of it, in the variables that its own clients read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from volant.domain.extension import Credentials, Endpoint, Extension, Scope, Service
from volant.errors import InvalidInput
from volant.extensions import probe_http, probe_tcp
from volant.extensions.probing import Found, Target
from volant.yamltext.problems import nearest

Settings = tuple[dict[str, str], dict[str, str]]  # what everybody may see, and secrets


@dataclass(frozen=True, slots=True)
class Kind:
    """One product: `schemes` of its URLs, the first assumed; its port where the URL has
    none; how to ask it, and what steps get."""

    product: str
    resource: str
    category: str
    schemes: tuple[str, ...]
    port: int | None
    probe: Callable[[Target], Found]
    settings: Callable[[Target], Settings]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was given for one kind."""

    name: str
    kind: Kind
    target: Target
    id: str
    zone: str
    projects: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> Recipe:
        """Raises `InvalidInput` for a kind that nobody knows, or a URL that can't be its."""
        kind = KINDS.get(name)
        if kind is None:
            near = nearest(name, KINDS)
            raise InvalidInput(
                f"There is no recipe {name[:100]!r}.",
                (f"Did you mean {near}? " if near else "")
                + f"Recipes: {', '.join(KINDS)}; anything else: volant extension register FILE.",
                code="extensions.recipe",
            )
        target = _target(name, kind, given)
        made = given.get("id") or name
        projects = tuple(given.get("project") or ())
        return cls(name, kind, target, made, str(given.get("zone") or ""), projects)

    def record(self, *, check: bool = True) -> tuple[Extension, str]:
        """The record, and what was found out in a few words. Raises `Unavailable` when it
        doesn't answer as its kind does, `PermissionDenied` when it lets nobody in so."""
        kind, target = self.kind, self.target
        found = kind.probe(target) if check else Found("", "not checked")
        public, secret = kind.settings(target)
        scope = Scope.PROJECT if self.projects else Scope.GLOBAL
        credentials = Credentials(
            "default", scope, default=True, projects=self.projects, configuration=secret
        )
        service = Service(
            id=kind.resource,
            resource=kind.resource,
            category=kind.category,
            auth_required=bool(secret),
            endpoints=(Endpoint(target.url, configuration=public),),
            credentials=(credentials,) if secret else (),
        )
        made = Extension(
            id=self.id,
            product=kind.product,
            version=found.version,
            zone=self.zone,
            services=(service,),
        )
        return made, found.told


def known_recipes() -> list[str]:
    """Their names."""
    return list(KINDS)


def _target(name: str, kind: Kind, given: Mapping[str, Any]) -> Target:
    text = str(given.get("url") or "").strip()
    if "://" not in text:
        text = f"{kind.schemes[0]}://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or kind.port
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        host, port, parts, user, password = None, None, urlsplit(""), "", ""
    if not host or parts.scheme not in kind.schemes or "pass" in parts.query.lower():
        # The URL isn't told: a password may be in it.
        raise InvalidInput(
            f"The URL given isn't one of a {name}.",
            f"Give one like {kind.schemes[0]}://HOST{f':{kind.port}' if kind.port else ''}, and the"
            " password by --password-stdin.",
            code="extensions.url",
        )
    return Target(
        name=name,
        url=_without_user(parts),
        scheme=parts.scheme,
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        path=parts.path.rstrip("/"),
        user=str(given.get("user") or "") or user,
        password=str(given.get("password") or "") or password,
        token=str(given.get("token") or ""),
        region=str(given.get("region") or ""),
    )


def _without_user(parts: SplitResult) -> str:
    place = parts.netloc.rpartition("@")[2]
    # Databases take options there (sslmode); an HTTP API's base has none.
    query = "" if parts.scheme.startswith("http") else parts.query
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), query, ""))


def _mlflow(target: Target) -> Settings:
    secret = {
        "MLFLOW_TRACKING_USERNAME": target.user,
        "MLFLOW_TRACKING_PASSWORD": target.password,
        "MLFLOW_TRACKING_TOKEN": target.token,
    }
    return {"MLFLOW_TRACKING_URI": target.url}, _given(secret)


def _prometheus(target: Target) -> Settings:
    secret = {
        "PROMETHEUS_USERNAME": target.user,
        "PROMETHEUS_PASSWORD": target.password,
        "PROMETHEUS_TOKEN": target.token,
    }
    return {"PROMETHEUS_URL": target.url}, _given(secret)


def _redis(target: Target) -> Settings:
    public = {"REDIS_HOST": target.host, "REDIS_PORT": str(target.port)}
    if not target.password:
        return {**public, "REDIS_URL": target.url}, {}
    secret = {"REDIS_USERNAME": target.user, "REDIS_PASSWORD": target.password}
    return public, {**_given(secret), "REDIS_URL": _with_user(target)}


def _postgres(target: Target) -> Settings:
    public = {
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGDATABASE": target.path.lstrip("/") or target.user or "postgres",
        **_given({"PGUSER": target.user}),
    }
    if not target.password:
        return {**public, "DATABASE_URL": _with_user(target)}, {}
    return public, {"PGPASSWORD": target.password, "DATABASE_URL": _with_user(target)}


def _s3(target: Target) -> Settings:
    public = {
        "AWS_ENDPOINT_URL": target.url,
        "MLFLOW_S3_ENDPOINT_URL": target.url,
        "AWS_DEFAULT_REGION": target.region or "us-east-1",
    }
    secret = {
        "AWS_ACCESS_KEY_ID": target.user,
        "AWS_SECRET_ACCESS_KEY": target.password,
        "AWS_SESSION_TOKEN": target.token,
    }
    return public, _given(secret)


def _kafka(target: Target) -> Settings:
    public = {"KAFKA_BOOTSTRAP_SERVERS": f"{target.host}:{target.port}"}
    secret = {"KAFKA_SASL_USERNAME": target.user, "KAFKA_SASL_PASSWORD": target.password}
    return public, _given(secret)


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _with_user(target: Target) -> str:
    """The URL that clients take, user and password in it."""
    scheme, _, rest = target.url.partition("://")
    who = quote(target.user, safe="")
    if target.password:
        who += ":" + quote(target.password, safe="")
    return f"{scheme}://{who}@{rest}" if who else target.url


_S3 = Kind("s3", "s3", "object-storage", ("http", "https"), None, probe_http.s3, _s3)
KINDS: dict[str, Kind] = {
    "mlflow": Kind(
        "mlflow",
        "mlflow-tracking",
        "experiment-tracking",
        ("http", "https"),
        None,
        probe_http.mlflow,
        _mlflow,
    ),
    "prometheus": Kind(
        "prometheus",
        "prometheus",
        "monitoring",
        ("http", "https"),
        None,
        probe_http.prometheus,
        _prometheus,
    ),
    "redis": Kind(
        "redis", "redis", "key-value-store", ("redis", "rediss"), 6379, probe_tcp.redis, _redis
    ),
    "postgres": Kind(
        "postgresql",
        "postgresql",
        "database",
        ("postgresql", "postgres"),
        5432,
        probe_tcp.postgres,
        _postgres,
    ),
    "s3": _S3,
    "minio": Kind("minio", "s3", "object-storage", ("http", "https"), None, probe_http.s3, _s3),
    "kafka": Kind("kafka", "kafka", "event-stream", ("kafka",), 9092, probe_tcp.kafka, _kafka),
}
