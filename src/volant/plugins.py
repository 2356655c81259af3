"""Entry points → objects. The built-ins register through the same entry points as any
plug-in: group `volant.<port>`, name → factory."""

from __future__ import annotations

import inspect
from importlib import metadata
from typing import Any

from volant.errors import Conflict, InvalidInput, MissingExtra, NotFound, VolantError
from volant.yamltext.problems import nearest

_PREFIX = "volant."


def names(group: str) -> list[str]:
    """The names installed for a port (`tables`, `artifacts`, `compute`…)."""
    return sorted({point.name for point in metadata.entry_points(group=_PREFIX + group)})


def load(group: str, name: str, **arguments: Any) -> Any:
    """Make the plug-in `name` of a port by calling its factory with `arguments`.

    Nothing is read before the first call; each call reads the installed packages'
    entry points, some milliseconds.

    Raises:
        NotFound: With what is installed, and the extra that brings `name` if there is one.
        Conflict: When two distributions offer the same name.
        MissingExtra: As a plug-in raises it itself.
        VolantError: For a plug-in that can't be imported; names its distribution.
        InvalidInput: For a factory that doesn't take `arguments`.
    """
    point = _find(group, name)
    try:
        factory = point.load()
    except VolantError:
        raise
    except Exception as error:  # whatever a stranger's module raises when it is imported
        raise _broken(group, point, error) from error
    _check_call(group, point, factory, arguments)
    return factory(**arguments)


def _find(group: str, name: str) -> metadata.EntryPoint:
    # The same distribution may be found twice, through two entries of the path.
    offered = {p.value: p for p in metadata.entry_points(group=_PREFIX + group, name=name)}
    if not offered:
        raise _unknown(group, name)
    if len(offered) > 1:
        owners = ", ".join(sorted(_distribution(point) for point in offered.values()))
        raise Conflict(
            f"More than one plug-in offers {name!r} for {group}: {owners}.",
            "Uninstall all but one of them.",
            code="plugin.ambiguous",
            details={"group": group, "name": name, "values": sorted(offered)},
        )
    return next(iter(offered.values()))


def _unknown(group: str, name: str) -> VolantError:
    if name in _extras():
        return MissingExtra(f"{group} {name!r}", name)
    installed = names(group)
    guess = nearest(name, installed)
    fix = f"Installed: {', '.join(installed) or 'none'}."
    if guess:
        fix = f"Did you mean {guess}? {fix}"
    return NotFound(
        f"No plug-in {name!r} is installed for {group}.",
        fix,
        code="plugin.unknown",
        details={"group": group, "name": name, "installed": installed},
    )


def _extras() -> list[str]:
    try:
        return metadata.metadata("volant").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return []


def _distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _broken(group: str, point: metadata.EntryPoint, error: Exception) -> VolantError:
    owner = point.dist.name if point.dist else point.value
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    fix = f"Run: pip install --force-reinstall {owner}"
    if missing and not point.module.startswith(missing):
        fix = f"Install {missing}, which {owner} needs, or reinstall {owner}."
    return VolantError(
        f"The plug-in {point.name!r} for {group}, from {_distribution(point)}, can't be "
        f"imported: {type(error).__name__}: {error}.",
        fix,
        code="plugin.broken",
        details={"group": group, "name": point.name, "value": point.value, "distribution": owner},
    )


def _check_call(
    group: str, point: metadata.EntryPoint, factory: Any, arguments: dict[str, Any]
) -> None:
    what = f"The plug-in {point.name!r} for {group}, from {_distribution(point)},"
    details = {"group": group, "name": point.name, "value": point.value}
    if not callable(factory):
        raise InvalidInput(
            f"{what} is {type(factory).__name__}, not something to call.",
            f"Point its entry point ({point.value}) at a class or a function.",
            code="plugin.broken",
            details=details,
        )
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise InvalidInput(
            f"{what} doesn't take what it is given: {error}.",
            f"Install a version of it that is made for this Volant; it is given: "
            f"{', '.join(sorted(arguments)) or 'nothing'}.",
            code="plugin.incompatible",
            details=details,
        ) from None
    except ValueError:  # a factory written in C tells no signature
        return
