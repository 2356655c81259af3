"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from volant.errors import InvalidInput
from volant.loops.parse import parse
from volant.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LOOP_FILE = (DOCS / "loop-file.md").read_text()
LEAST = {"kind": "Loop", "name": "a", "data": {"dataset": "a", "target": "b"}}
KEY = re.compile(r"^\| `([\w.\[\]]+)` \|[^|]*\| (\S[^|]*?) \| ", re.MULTILINE)

# A place in the file where keys stand → a file with a key there that is none.
PLACES = {
    "": {"zzzzzzzz": 1},
    "data": {"data": {"zzzzzzzz": 1}},
    "data.contract": {"data": {"contract": {"zzzzzzzz": 1}}},
    "data.contract.columns.NAME": {"data": {"contract": {"columns": {"b": {"zzzzzzzz": 1}}}}},
    "train": {"train": {"zzzzzzzz": 1}},
    "train.tune": {"train": {"call": "a:b", "tune": {"zzzzzzzz": 1}}},
    "train.automl": {"train": {"automl": {"zzzzzzzz": 1}}},
    "gate": {"gate": {"zzzzzzzz": 1}},
    "gate.thresholds.METRIC": {"gate": {"thresholds": {"rmse": {"zzzzzzzz": 1}}}},
    "gate.champion": {"gate": {"champion": {"zzzzzzzz": 1}}},
    "gate.slices[]": {"gate": {"slices": [{"by": "b", "zzzzzzzz": 1}]}},
    "deploy": {"deploy": {"zzzzzzzz": 1}},
    "deploy.replicas": {"deploy": {"replicas": {"zzzzzzzz": 1}}},
    "deploy.rollout": {"deploy": {"rollout": {"zzzzzzzz": 1}}},
    "deploy.rollout.rollback_on": {"deploy": {"rollout": {"rollback_on": {"zzzzzzzz": 1}}}},
    "deploy.rollout.sticky": {"deploy": {"rollout": {"sticky": {"zzzzzzzz": 1}}}},
    "deploy.log": {"deploy": {"log": {"zzzzzzzz": 1}}},
    "triggers[]": {"triggers": [{"zzzzzzzz": 1}]},
}


def tool():
    """`docs/generate.py`, which is no module of the package."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def merged(least, more):
    """`more` over `least`, mapping by mapping."""
    both = dict(least)
    for key, value in more.items():
        known = both.get(key)
        mappings = isinstance(known, dict) and isinstance(value, dict)
        both[key] = merged(known, value) if mappings else value
    return both


def known_keys(place):
    """The keys that the parser names when it meets one that it doesn't know."""
    with pytest.raises(InvalidInput) as caught:
        parse(yaml.safe_dump(merged(LEAST, PLACES[place])))
    told = next(p for p in caught.value.details["problems"] if "zzzzzzzz" in p["path"])
    listed = re.fullmatch(r"Use one of these keys: (.*)\.", told["fix"])
    assert listed, told
    return listed[1].split(", ")


@pytest.mark.parametrize("place", PLACES)
def test_every_key_of_the_loop_file_is_explained(place):
    for key in known_keys(place):
        path = f"{place}.{key}" if place else key
        assert f"`{path}`" in LOOP_FILE, f"docs/loop-file.md doesn't explain {path}"


def test_no_key_is_explained_that_the_parser_lacks():
    explained = {path for path, _ in KEY.findall(LOOP_FILE)}
    known = {f"{place}.{key}" if place else key for place in PLACES for key in known_keys(place)}
    assert explained <= known


def test_setting_a_key_to_its_documented_default_changes_nothing():
    plain = parse(yaml.safe_dump(LEAST))
    seen = 0
    for path, default in KEY.findall(LOOP_FILE):
        value = re.fullmatch(r"`(.*)`", default)
        if value is None or path.startswith(("data.contract", "train.call")):
            continue
        more = yaml.safe_load(value[1])
        if path.startswith("gate.slices[]."):  # a rule needs its column
            rules = [{"by": "b"}, {"by": "b", path.split(".")[-1]: more}]
            bare, told = [merged(LEAST, {"gate": {"slices": [rule]}}) for rule in rules]
            assert parse(yaml.safe_dump(bare)) == parse(yaml.safe_dump(told)), path
            continue
        for key in reversed(path.split(".")):
            more = {key: more}
        if path.startswith("deploy.rollout."):  # without one there are no defaults of it
            with_rollout = merged(LEAST, {"deploy": {"rollout": {}}})
            whole = parse(yaml.safe_dump(merged(with_rollout, more)))
            assert whole == parse(yaml.safe_dump(with_rollout)), path
            continue
        if path.startswith("train.tune."):  # these stand beside a space, and that beside `call`
            space = {"space": {"x": {"int": [0, 1]}}}
            with_tune = merged(LEAST, {"train": {"call": "a:b", "tune": space}})
            whole = parse(yaml.safe_dump(merged(with_tune, more)))
            assert whole == parse(yaml.safe_dump(with_tune)), path
            continue
        if path in {"train.params", "train.budget", "train.seed"}:  # these stand beside `call`
            with_call = merged(LEAST, {"train": {"call": "a:b"}})
            whole = parse(yaml.safe_dump(merged(with_call, more)))
            assert whole == parse(yaml.safe_dump(with_call)), path
        else:
            assert parse(yaml.safe_dump(merged(LEAST, more))) == plain, path
        seen += 1
    assert seen > 15


@pytest.mark.parametrize("page", ["loop-file.md", "training.md"])
def test_every_example_of_a_loop_file_parses(page):
    examples = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.S | re.M)
    assert examples
    for example in examples:
        document = yaml.safe_load(example)
        assert parse(example if "kind" in document else yaml.safe_dump(merged(LEAST, document)))


@pytest.mark.parametrize("page", ["cli.md", "api.md"])
def test_a_generated_page_is_current(page):
    made = tool().PAGES[page]()
    assert (DOCS / page).read_text() == made, "run: python docs/generate.py"


def test_every_command_and_route_is_in_its_page():
    cli, api = ((DOCS / page).read_text() for page in ("cli.md", "api.md"))
    for command in ("volant up", "volant data push", "volant runs retry", "volant tokens revoke"):
        assert f" {command}\n" in cli
    assert len(re.findall(r"^### `(?:GET|POST|PUT|DELETE) /api/v1/", api, re.M)) > 30
    assert api.count("Needs nothing") == 1  # health


def test_the_targets_that_pages_name_are_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")):
        named = set(re.findall(r"(?:`|^)make ([\w-]+)", path.read_text(), re.M))
        assert named <= targets, f"{path.name}: {named - targets}"
    assert {"demo", "test"} <= targets


def test_every_setting_is_explained():
    page = (DOCS / "operating.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`VOLANT_{name.upper()}`" in page
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"| `VOLANT_{name.upper()}` | `{field.default:g}` |" in page


def test_every_permission_role_and_metric_is_explained():
    from volant.domain.metric import GREATER_IS_BETTER
    from volant.domain.principal import Role

    operating, training = ((DOCS / f"{p}.md").read_text() for p in ("operating", "training"))
    for role in Role:
        assert f"| `{role.name.lower()}` |" in operating
    for metric, greater in GREATER_IS_BETTER.items():
        assert f"| `{metric}` | {'higher' if greater else 'lower'} |" in training


def test_what_a_callable_may_ask_for_is_explained():
    from volant.training import callable as room

    training = (DOCS / "training.md").read_text()
    table = training[training.index("| argument | is |") :].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`(?=[,\s|])", table)) >= set(room._OFFERED)


def test_every_revision_state_is_explained():
    from volant.domain.deployment import RevisionStatus

    serving = (DOCS / "serving.md").read_text()
    for status in RevisionStatus:
        assert f"| `{status.value}` |" in serving


def test_every_page_is_in_the_navigation_and_there():
    # The theme's own tags in the file don't matter here.
    nav = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(nav) == pages


def test_the_files_that_the_readme_links_to_are_there():
    for name in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", (ROOT / name).read_text())
        assert links
        for link in links:
            assert (ROOT / link).exists(), f"{name}: {link}"


def test_the_changelog_tells_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    from volant import __version__

    assert project["name"] == "volant"
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_picture_needs_no_network():
    drawn = (DOCS / "assets" / "demo.svg").read_text()
    assert not re.search(r"@font-face|@import|(?:href|src)=|url\((?!#)", drawn)
