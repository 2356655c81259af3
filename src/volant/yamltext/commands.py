"""Shell commands in a file: one, or a list of them."""

from __future__ import annotations

from yaml.nodes import MappingNode, SequenceNode

from volant.yamltext.reading import Section, describe

MAX_COMMANDS = 50
_LONGEST = 10_000


def commands_of(section: Section, key: str) -> tuple[str, ...]:
    """The commands under `key`, in order; none when it is absent or wrong."""
    node = section.child(key)
    if node is None:
        return ()
    path = section.at(key)
    if isinstance(node, MappingNode):
        section.bad(
            key,
            f"{path} must be a command or a list of commands, not {describe(node)}.",
            f'Write them as {key}: ["one", "two"].',
        )
        return ()
    listed = list(node.value) if isinstance(node, SequenceNode) else [node]
    places = [
        f"{path}[{i}]" if isinstance(node, SequenceNode) else path for i in range(len(listed))
    ]
    texts = [section.reading.text(each, place) for each, place in zip(listed, places, strict=True)]
    found = tuple(text.strip() for text in texts if text is not None)
    if len(listed) > MAX_COMMANDS or any(len(text) > _LONGEST for text in found):
        section.bad(
            key,
            f"{path} has more than {MAX_COMMANDS} commands, or one of over {_LONGEST} characters.",
            "Put them into a script in the repository, and name that.",
        )
        return ()
    if not all(found) and len(found) == len(listed):
        section.bad(key, f"{path} has an empty command.", "Write a shell command, or delete it.")
        return ()
    return found
