"""`gate.slices` of a volant.yaml: groups of rows on which a model mustn't get worse."""

from __future__ import annotations

from volant.domain.contract import Contract
from volant.domain.loop import SliceRule
from volant.loops.columns import check_column
from volant.yamltext.reading import Section

MOST = 10
_ROWS = 1_000_000


def slices_of(gate: Section, contract: Contract | None) -> tuple[SliceRule, ...]:
    """The rules in their order; what is wrong is noted."""
    node = gate.child("slices")
    items = [] if node is None else gate.reading.listing(node, gate.at("slices")) or []
    if len(items) > MOST:
        gate.bad("slices", f"gate.slices has {len(items)} rules.", f"Keep at most {MOST}.")
        return ()
    found: dict[str, SliceRule] = {}
    for index, item in enumerate(items):
        path = f"{gate.at('slices')}[{index}]"
        section = gate.reading.section(
            item, path, ("by", "max_regression", "min_rows"), required=("by",)
        )
        by = section.text("by") if section is not None else None
        if section is None or by is None:
            continue
        check_column(section, "by", by, contract)
        if by in found:
            section.bad("by", f"{path}: a rule for {by[:60]!r} stands above.", "Keep one of them.")
        regression = section.number("max_regression", 0.0)
        rows = section.integer("min_rows", 30, 1, _ROWS)
        found[by] = SliceRule(by, 0.0 if regression is None else float(regression), rows)
    return tuple(found.values())
