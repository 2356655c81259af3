"""Extensions as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Item = Mapping[str, Any]


def table(items: Sequence[Item]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """FuseML's columns."""
    columns = ("id", "product", "version", "zone", "services", "endpoints", "credentials")
    return columns, [_row(each) for each in items]


def _row(item: Item) -> tuple[str, ...]:
    services = item["services"]
    return (
        f"{item['id']} (built in)" if item["builtin"] else item["id"],
        item["product"],
        item["version"],
        item["zone"],
        ", ".join(f"{each['id']} ({each['resource'] or '-'})" for each in services),
        ", ".join(point["url"] for each in services for point in each["endpoints"]),
        ", ".join(
            f"{one['id']} ({whose(one)})" for each in services for one in each["credentials"]
        ),
    )


def whose(credentials: Item) -> str:
    """`global`, `project a, b`, or `user c`, with their projects if they are bound to any."""
    scope = credentials["scope"]
    if scope == "global":
        return scope
    names = ", ".join(credentials[f"{scope}s"])
    within = f" in {', '.join(credentials['projects'])}" if credentials["projects"] else ""
    return f"{scope} {names}" + (within if scope == "user" else "")


def lines(item: Item) -> Iterator[str]:
    """One extension, all of it."""
    facts = [("ID", item["id"] + (" (built in)" if item["builtin"] else ""))]
    facts += [(key.capitalize(), item[key]) for key in ("product", "version", "zone")]
    facts += [("Description", item["description"].strip())]
    facts += [("Registered", item["registered_at"]), ("Updated", item["updated_at"])]
    yield from (f"{name + ':':14}{value}" for name, value in facts if value)
    yield from _settings(item["configuration"], "")
    for service in item["services"]:
        yield ""
        told = [service[key] for key in ("resource", "category") if service[key]]
        needs = ", needs credentials" if service["auth_required"] else ""
        yield f"Service {service['id']} ({', '.join(told) or 'of no kind'}{needs})"
        if service["description"].strip():
            yield f"  {service['description'].strip()}"
        yield from _settings(service["configuration"], "  ")
        for endpoint in service["endpoints"]:
            yield f"  Endpoint {endpoint['url']} ({endpoint['type']})"
            yield from _settings(endpoint["configuration"], "    ")
        for credentials in service["credentials"]:
            default = ", default" if credentials["default"] else ""
            yield f"  Credentials {credentials['id']} ({whose(credentials)}{default})"
            yield from (f"    {key} = ***" for key in credentials["keys"])


def _settings(configuration: Mapping[str, str], indent: str) -> Iterator[str]:
    for key, value in configuration.items():
        yield f"{indent}{key} = {value}"
