"""The card tells what is recorded, and nothing that it tells is markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from registry_world import World

from volant.domain.dataset import DatasetVersion
from volant.domain.model import Field, Signature, Stage
from volant.domain.statistics import ColumnStatistics, ValueCount
from volant.registry.card import INTENDED_USE, LIMITS, Facts, card
from volant.registry.document import Bullets, Heading, Paragraph, Table, markdown, page
from volant.testing import samples

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "</td></table><iframe src=//evil>",
    "`code` | <b>bold</b>\n\n# heading",
]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "table",
        "thead", "tbody", "tr", "th", "td"}  # fmt: skip


def test_a_card_tells_what_is_recorded(world: World) -> None:
    version = world.register("wine", metrics={"rmse": 0.5}, parent=None)
    decision = samples.decision(
        reason="rmse 0.5 beats 0.6.",
        details={
            "metrics": {"rmse": 0.5},
            "champion_metrics": {"rmse": 0.6},
            "slices": {"color = red": {"rmse": 0.7}},
        },
        rules=({"rule": "threshold", "passed": True, "reason": "rmse is low", "max": 0.75},),
    )
    data = DatasetVersion("wine", 3, 3, 10, 1234, 0, "push-1", samples.NOW)
    facts = Facts(
        tags={INTENDED_USE: "Tables of wine.", LIMITS: "No sherry.\nNo port."},
        description="A good one.",
        data=data,
        decision=decision,
        ancestors=[replace(version, version=7, stage=Stage.RETIRED)],
    )
    for text in (markdown(card(version, facts)), page("wine", card(version, facts))):
        for told in (
            "wine version 1", "A good one.", "candidate", "Tables of wine.", "No sherry.",
            "No port.", "rmse", "0.5", "0.6", "lower", "color = red", "0.7", "accepted",
            "rmse 0.5 beats 0.6.", "threshold", "max 0.75", "1234", "h" * 64, "c" * 64,
            "e" * 64, "7 (retired)", "data/weights.bin", "depth", "prediction",
        ):  # fmt: skip
            assert told in text, told


def test_a_card_shows_the_training_data(world: World) -> None:
    version = world.register("wine")
    names = ColumnStatistics("owner", "string", 10, 0, 10)
    found = samples.training_statistics()
    facts = Facts(statistics=replace(found, columns=(*found.columns, names), left_out=2))
    text = markdown(card(version, facts))
    assert "| x | 1 | 1 | 4 | 9 |  |" in text
    assert "| color | 0 |  |  |  | white (7), red (3) |" in text
    assert "| owner | 0 |  |  |  | 10 values, none kept |" in text
    assert "| quality | 0 |  |  |  | good (6), bad (4) |" in text
    assert "Of 10 rows" in text
    assert "2 more columns" in text
    assert "Training data" not in markdown(card(version, Facts()))


def test_a_card_says_what_nobody_recorded(world: World) -> None:
    version = world.only_registered("wine")
    text = markdown(card(version, Facts()))
    assert "Nobody has told what it is for." in text
    assert "Nobody has measured it." in text
    assert "It is registered" in text
    refused = replace(world.register("wine", passed=False), runtime={})
    decision = samples.decision(reason="rmse is high.")
    text = markdown(card(refused, Facts(decision=decision)))
    assert "Refused by its gate: rmse is high." in text


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_card_is_markup(world: World, attack: str) -> None:
    made = world.register("wine", params={attack: attack}, metrics={attack: 1.0})
    version = replace(
        made,
        model=attack,
        files={attack: attack},
        signature=Signature((Field(attack, attack),), (Field(attack, attack),), attack, (attack,)),
        runtime={
            "kind": attack, "found": attack, "imported": {"model": attack, "version": attack},
            "trusted_pickle": {"by": attack},
        },
        lineage=replace(made.lineage, dataset=attack, run_id=attack, code_hash=attack),
    )  # fmt: skip
    decision = samples.decision(
        id=attack,
        reason=attack,
        rules=({"rule": attack, "passed": True, "reason": attack, attack: attack},),
        details={"champion_metrics": {attack: attack}, "slices": {attack: {attack: attack}}},
    )
    odd = ColumnStatistics(attack, "string", 1, 0, 1, values=(ValueCount(attack, 1),))
    facts = Facts(
        {INTENDED_USE: attack, LIMITS: attack},
        attack,
        decision=decision,
        statistics=samples.training_statistics(columns=(odd,), label=odd),
    )
    blocks = card(version, facts)
    parsed = Tags()
    parsed.feed(page(attack, blocks))
    assert set(parsed.found) <= OURS
    assert not [name for name in parsed.attributes if name.startswith("on") or name == "src"]
    _check_markdown(markdown(blocks))


def _check_markdown(text: str) -> None:
    assert "<" not in text
    for line in text.splitlines():
        bare = line.replace("\\\\", "").replace("\\[", "").replace("\\]", "").replace("\\`", "")
        assert "](" not in bare
        assert "`" not in bare


@given(st.text(max_size=60))
@example("\x1e#")
def test_any_text_stays_text(text: str) -> None:
    blocks = [
        Heading(text, 1), Paragraph(text), Bullets([text]), Table(["a", text], [[text, "b"]])
    ]  # fmt: skip
    parsed = Tags()
    parsed.feed(page(text, blocks))
    assert set(parsed.found) <= OURS
    assert text.strip() in parsed.text or "\r" in text or "\0" in text
    lines = markdown(blocks).splitlines()
    heads = [line for line in lines if line.startswith("#")]
    assert len(heads) == 1
    assert len([line for line in lines if line.startswith("| ")]) == 3
