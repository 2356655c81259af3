"""A record as somebody wrote it in YAML, FuseML's form, read for the API.

Values are the text as it was written (`version: 1.10` is "1.10", `INSECURE: False` is
"False"), but for the two keys that are true or false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yaml.nodes import Node

from volant.yamltext.nodes import document
from volant.yamltext.problems import Problem, error_of
from volant.yamltext.reading import Reading, Section, join

_CODE = "extensions.file"
_EXTENSION = ("id", "product", "version", "description", "zone", "configuration", "services")
_SERVICE = (
    *("id", "resource", "category", "description", "auth_required", "authrequired"),
    *("configuration", "endpoints", "credentials"),
)
_ENDPOINT = ("url", "type", "configuration")
_CREDENTIALS = ("id", "default", "scope", "projects", "users", "configuration")
_TOLD = ("status", "extension_id", "service_id")  # in what FuseML prints; not ours to set


def read_extension(text: str, file: str) -> dict[str, Any]:
    """The body of a registration. Raises `InvalidInput` with all that is wrong and where."""
    return _read(text, file, _extension)


def read_service(text: str, file: str) -> dict[str, Any]:
    """The body of a service that is added."""
    return _read(text, file, lambda reading, node: _service(reading, node, ""))


def read_credentials(text: str, file: str) -> dict[str, Any]:
    """The body of credentials that are added."""
    return _read(text, file, lambda reading, node: _credentials(reading, node, ""))


def _read(text: str, file: str, parse: Callable[[Reading, Node], dict[str, Any]]) -> dict[str, Any]:
    node = document(text)
    if isinstance(node, Problem):
        raise error_of([node], file, _CODE)
    reading = Reading()
    found = parse(reading, node)
    if reading.problems:
        raise error_of(reading.problems, file, _CODE)
    return found


def _extension(reading: Reading, node: Node) -> dict[str, Any]:
    section = reading.section(node, "", (*_EXTENSION, *_TOLD), required=("services",))
    if section is None:
        return {}
    return {
        **_texts(section, ("id", "product", "version", "description", "zone")),
        "configuration": _configuration(section),
        "services": _each(section, "services", _service),
    }


def _service(reading: Reading, node: Node, path: str) -> dict[str, Any]:
    section = reading.section(node, path, (*_SERVICE, *_TOLD))
    if section is None:
        return {}
    auth = next((k for k in ("auth_required", "authrequired") if k in section), None)
    return {
        **_texts(section, ("id", "resource", "category", "description")),
        "auth_required": bool(auth and section.flag(auth)),
        "configuration": _configuration(section),
        "endpoints": _each(section, "endpoints", _endpoint),
        "credentials": _each(section, "credentials", _credentials),
    }


def _endpoint(reading: Reading, node: Node, path: str) -> dict[str, Any]:
    section = reading.section(node, path, (*_ENDPOINT, *_TOLD), required=("url",))
    if section is None:
        return {}
    return {
        **_texts(section, ("url",)),
        **_word(section, "type", ("internal", "external")),
        "configuration": _configuration(section),
    }


def _credentials(reading: Reading, node: Node, path: str) -> dict[str, Any]:
    section = reading.section(node, path, (*_CREDENTIALS, *_TOLD))
    if section is None:
        return {}
    return {
        **_texts(section, ("id",)),
        **_word(section, "scope", ("global", "project", "user")),
        "default": bool("default" in section and section.flag("default")),
        "projects": _names(section, "projects"),
        "users": _names(section, "users"),
        "configuration": _configuration(section),
    }


def _texts(section: Section, keys: Sequence[str]) -> dict[str, str]:
    return {key: section.raw(key) or "" for key in keys if key in section}


def _word(section: Section, key: str, words: Sequence[str]) -> dict[str, str]:
    word = section.raw(key)
    if word is None:
        return {}
    if word not in words:
        section.bad(
            key, f"{section.at(key)} is {word[:40]!r}.", f"Write one of: {', '.join(words)}."
        )
    return {key: word}


def _configuration(section: Section) -> Mapping[str, str]:
    node = section.child("configuration")
    if node is None or node.tag == "null":
        return {}
    path = section.at("configuration")
    if not isinstance(node.value, list):
        # Not `describe`, which would show what stands there: it may be a secret.
        section.bad("configuration", f"{path} must be a mapping.", "Write KEY: value lines.")
        return {}
    found = section.reading.pairs(node, path) or {}
    return {
        key: section.reading.raw(value, join(path, key)) or "" for key, (_, value) in found.items()
    }


def _names(section: Section, key: str) -> list[str]:
    node = section.child(key)
    if node is None or node.tag == "null":
        return []
    items = section.reading.listing(node, section.at(key)) or []
    return [
        section.reading.raw(item, f"{section.at(key)}[{index}]") or ""
        for index, item in enumerate(items)
    ]


def _each(
    section: Section, key: str, parse: Callable[[Reading, Node, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    node = section.child(key)
    if node is None or node.tag == "null":
        return []
    items = section.reading.listing(node, section.at(key)) or []
    return [
        parse(section.reading, item, f"{section.at(key)}[{index}]")
        for index, item in enumerate(items)
    ]
