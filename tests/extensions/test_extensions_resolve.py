"""Which service a step gets, and what it is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.extension import Credentials, Endpoint, EndpointType, Extension, Scope, Service
from volant.domain.manifest import ExtensionRequirement
from volant.errors import InvalidInput, NotFound
from volant.extensions.builtin import built_in
from volant.extensions.resolve import candidates, credentials_of, endpoint_of, matching, resolve

INTERNAL, EXTERNAL = EndpointType.INTERNAL, EndpointType.EXTERNAL
URL = "http://127.0.0.1:8400"


def wanted(**fields) -> ExtensionRequirement:
    return ExtensionRequirement("it", **fields)


def service(id="store", resource="s3", **more) -> Service:
    more.setdefault("endpoints", (Endpoint("http://inside:9000", INTERNAL),))
    return Service(id, resource, **more)


def extension(id="a", version="1.0.0", services=None, product="mlflow", **more) -> Extension:
    return Extension(id, product, version, services=services or (service(),), **more)


def chosen(requirement, extensions, project=None, user=None) -> list[str]:
    return [each.name for each in candidates(requirement, extensions, project, user)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"extension_id": "a"}, ["a/store", "a/track"]),
        ({"extension_id": "a", "service_id": "track"}, ["a/track"]),
        ({"product": "mlflow", "service_resource": "s3"}, ["a/store"]),
        ({"service_resource": "s3"}, ["b/store", "a/store"]),
        ({"service_category": "tracking"}, ["a/track"]),
        ({"version": ">=2"}, ["b/store"]),
        ({"version": "~1.2, !=1.2.3"}, []),
        ({"zone": "east"}, ["b/store"]),
        ({"product": "mlflow", "zone": "east"}, []),
    ],
)
def test_what_matches(asked, found):
    registry = [
        extension(
            "a", "1.2.3", (service(), service("track", "mlflow-tracking", category="tracking"))
        ),
        extension("b", "2.1.0", product="minio", zone="east"),
    ]
    assert chosen(wanted(**asked), registry) == found


def test_a_registered_one_wins_over_the_built_in_and_the_newest_over_the_rest():
    registry = [
        *built_in(URL),
        extension("old", "1.9.0"),
        extension("new", "1.10.0"),
        extension("unversioned", "latest"),
        extension("z", "1.10.0"),
    ]
    asked = wanted(product="mlflow", service_resource="s3")
    names = ["new/store", "z/store", "old/store", "unversioned/store", "mlflow/mlflow-store"]
    assert chosen(asked, registry) == names
    found = resolve({"it": asked}, registry, None, None)
    assert found.bindings["it"].extension == "new"
    assert found.notes == [
        "it: new/store was chosen; z/store, old/store, unversioned/store, mlflow/mlflow-store"
        " would do as well."
    ]


def test_all_that_the_examples_of_fuseml_ask_for_is_built_in():
    asks = {
        "tracking": wanted(product="mlflow", service_resource="mlflow-tracking"),
        "store": wanted(product="mlflow", service_resource="s3"),
        "s3": wanted(service_resource="s3"),
        "kserve": wanted(service_resource="kserve-api"),
        "kfserving": wanted(service_resource="kfserving-api"),
        "seldon": wanted(service_resource="seldon-core-api"),
        "ovms": wanted(service_resource="ovms-operator"),
    }
    found = resolve(asks, built_in(URL), "any", "one")
    assert {each.url for each in found.bindings.values()} == {URL}
    assert found.notes == []
    assert found.bindings["tracking"].cfg == {
        "MLFLOW_TRACKING_URI": URL,
        "MLFLOW_TRACKING_TOKEN": "secret://volant/mlflow-tracking/step/MLFLOW_TRACKING_TOKEN",
    }
    assert found.bindings["store"].cfg == {"MLFLOW_S3_ENDPOINT_URL": ""}


@pytest.mark.parametrize(
    ("zone", "own_zone", "url"),
    [
        ("", "", "http://inside"),
        ("", "east", "http://inside"),
        ("east", "east", "http://inside"),
        ("west", "east", "http://outside"),
    ],
)
def test_the_endpoint(zone, own_zone, url):
    both = service(endpoints=(Endpoint("http://outside"), Endpoint("http://inside", INTERNAL)))
    found = endpoint_of(both, zone, own_zone)
    assert found is not None
    assert found.url == url
    only_inside = service()
    assert (endpoint_of(only_inside, zone, own_zone) is None) is (url == "http://outside")


def credentials(id, scope=Scope.GLOBAL, projects=(), users=(), default=False):
    return Credentials(id, scope, default, tuple(projects), tuple(users), {"K": id})


OF_ALL = (
    credentials("g2"),
    credentials("g1"),
    credentials("p", Scope.PROJECT, ["alpha", "beta"]),
    credentials("u", Scope.USER, users=["ann"]),
    credentials("ua", Scope.USER, ["alpha"], ["bob"]),
)


@pytest.mark.parametrize(
    ("project", "user", "id"),
    [
        (None, None, "g1"),
        ("gamma", "carl", "g1"),
        ("alpha", "carl", "p"),
        ("alpha", "ann", "u"),
        (None, "ann", "u"),
        ("alpha", "bob", "ua"),
        ("beta", "bob", "p"),
        ("gamma", "bob", "g1"),
    ],
)
def test_the_credentials(project, user, id):
    found = credentials_of(service(credentials=OF_ALL), project, user)
    assert found is not None
    assert found.id == id


def test_the_default_of_a_scope():
    both = service(credentials=(credentials("a"), credentials("b", default=True)))
    found = credentials_of(both, None, None)
    assert found is not None
    assert found.id == "b"


def test_who_has_no_credentials_does_not_get_what_needs_them():
    closed = service(auth_required=True, credentials=(OF_ALL[2],))
    registry = [extension(services=(closed,))]
    asked = wanted(product="mlflow")
    assert chosen(asked, registry, "alpha", None) == ["a/store"]
    with pytest.raises(NotFound, match="it has no credentials for project gamma and user ann"):
        resolve({"it": asked}, registry, "gamma", "ann")
    opened = [extension(services=(replace(closed, auth_required=False),))]
    assert resolve({"it": asked}, opened, "gamma", "ann").bindings["it"].cfg == {}


KEYS = st.sampled_from(["A", "B", "C", "D"])
SETTINGS = st.dictionaries(KEYS, st.text(max_size=3))


@given(SETTINGS, SETTINGS, SETTINGS, SETTINGS)
def test_the_later_setting_wins(of_extension, of_service, of_endpoint, secret):
    made = extension(
        configuration=of_extension,
        services=(
            service(
                configuration=of_service,
                endpoints=(Endpoint("http://h", configuration=of_endpoint),),
                credentials=(Credentials("c", configuration=secret),),
            ),
        ),
    )
    cfg = resolve({"it": wanted(product="mlflow")}, [made], None, None).bindings["it"].cfg
    assert set(cfg) == {*of_extension, *of_service, *of_endpoint, *secret}
    for key, value in cfg.items():
        if key in secret:
            assert value == f"secret://a/store/c/{key}"
        else:
            last = [part[key] for part in (of_extension, of_service, of_endpoint) if key in part]
            assert value == last[-1]


EXTENSIONS = st.lists(
    st.builds(
        extension,
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.sampled_from(["1.0.0", "1.10.0", "1.9", "2.0.0-rc.1", "", "latest"]),
        product=st.sampled_from(["mlflow", "minio"]),
        zone=st.sampled_from(["", "east"]),
        builtin=st.booleans(),
    ),
    unique_by=lambda each: each.id,
)


@given(EXTENSIONS, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_registry(registry, random):
    shuffled = list(registry)
    random.shuffle(shuffled)
    asked = wanted(service_resource="s3")
    assert chosen(asked, shuffled) == chosen(asked, registry)
    assert sorted(chosen(asked, registry)) == sorted(f"{each.id}/store" for each in registry)


@given(EXTENSIONS, st.sampled_from([">=1", "^1", "1.9", "latest"]), st.sampled_from(["", "east"]))
def test_what_is_chosen_is_what_was_asked_for(registry, version, zone):
    asked = wanted(product="mlflow", version=version, zone=zone)
    for each in candidates(asked, registry, None, None):
        assert each.extension.product == "mlflow"
        assert zone in ("", each.extension.zone)
    listed = {each.id for each in matching(asked, registry)}
    assert listed == {each.extension.id for each in candidates(asked, registry, None, None)}


def test_nothing_matches():
    registry = [extension("mlflow-1", "1.20.2"), extension("minio-1", product="minio")]
    with pytest.raises(NotFound) as error:
        resolve({"tracking": wanted(product="mlfow")}, registry, None, None)
    assert error.value.what == (
        "No registered extension meets tracking (product mlfow). Registered: minio-1/store,"
        " mlflow-1/store. The nearest is mlflow-1/store: its product is 'mlflow', not 'mlfow'."
    )
    with pytest.raises(NotFound, match=r"mlflow-1/store: its version is '1\.20\.2', not '>=2'"):
        resolve({"x": wanted(extension_id="mlflow-1", version=">=2")}, registry, None, None)
    with pytest.raises(NotFound, match=r"Registered: nothing\."):
        resolve({"x": wanted(product="mlflow")}, [], None, None)
    bare = [extension(services=(service(endpoints=()),))]
    with pytest.raises(NotFound, match="it has no endpoint"):
        resolve({"x": wanted(product="mlflow")}, bare, None, None)


def test_what_asks_for_nothing_or_for_no_version():
    with pytest.raises(InvalidInput, match="asks for nothing"):
        resolve({"x": wanted()}, [extension()], None, None)
    with pytest.raises(InvalidInput, match=r"'>=one': 'one' is no version"):
        resolve({"x": wanted(product="p", version=">=one")}, [extension()], None, None)
