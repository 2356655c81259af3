from __future__ import annotations

import itertools
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.access.desk import AccessDesk, sha256_of
from volant.access.permissions import LEAST_ROLE, Permission, allow, allowed
from volant.adapters.system import SortableIds
from volant.domain.principal import AuditEntry, Principal, Role
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from volant.store.records import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


def desk_on(store: Store, ticking: Ticking) -> AccessDesk:
    return AccessDesk(
        tokens=store.tokens,
        audit=store.audit,
        clock=Clock(),
        ids=SortableIds(),
        monotonic=ticking,
    )


@pytest.fixture
def desk(store: Store, ticking: Ticking) -> AccessDesk:
    return desk_on(store, ticking)


def test_the_first_start_makes_an_admins_token(
    desk: AccessDesk, store: Store, tmp_path: Path
) -> None:
    secret = desk.first_token(tmp_path / "home")
    path = tmp_path / "home" / "token"
    assert secret.startswith("vlt_")
    assert path.read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert desk.authenticate(secret) == Principal("admin", Role.ADMIN)
    (token,) = store.tokens.list()
    assert token.sha256 == sha256_of(secret)
    assert secret not in repr(token)
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["token"]


def test_later_starts_keep_it(desk: AccessDesk, tmp_path: Path) -> None:
    secret = desk.first_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    assert desk.first_token(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert len(desk.tokens()) == 1


@pytest.mark.parametrize("content", [None, "", "vlt_somebody-elses\n", "\xff", "x" * 9999])
def test_a_lost_or_foreign_file_gets_a_new_token_and_the_old_is_revoked(
    desk: AccessDesk, tmp_path: Path, content: str | None
) -> None:
    old = desk.first_token(tmp_path)
    assert desk.authenticate(old)
    kept, kept_secret = desk.issue("alice", Role.VIEWER)
    (tmp_path / "token").unlink()
    if content is not None:
        (tmp_path / "token").write_bytes(content.encode("latin-1"))
    new = desk.first_token(tmp_path)
    assert new != old
    assert desk.authenticate(new).role is Role.ADMIN
    with pytest.raises(Unauthenticated):
        desk.authenticate(old)
    assert desk.authenticate(kept_secret) == Principal("alice", Role.VIEWER)
    assert {t.id for t in desk.tokens()} >= {kept.id}
    assert len(desk.tokens()) == 2


def test_dying_before_the_file_is_written_leaves_no_living_orphan(
    store: Store, ticking: Ticking, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_text("no folder")
    with pytest.raises(Unavailable) as caught:
        desk_on(store, ticking).first_token(home)
    assert "home/token" in caught.value.what
    home.unlink()
    desk = desk_on(store, ticking)
    secret = desk.first_token(home)
    assert [t.sha256 for t in desk.tokens()] == [sha256_of(secret)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told(desk: AccessDesk, tmp_path: Path) -> None:
    desk.first_token(tmp_path)
    (tmp_path / "token").chmod(0)
    with pytest.raises(Unavailable):
        desk.first_token(tmp_path)


def test_a_folder_in_the_files_place_is_told(desk: AccessDesk, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir(mode=0o700)
    with pytest.raises(Unavailable, match="token file"):
        desk.first_token(tmp_path)


@pytest.mark.parametrize("secret", ["", "vlt_", "vlt_x", "admin", "vlt_é", "vlt_" + "x" * 500])
def test_unknown_secrets_are_refused(desk: AccessDesk, tmp_path: Path, secret: str) -> None:
    desk.first_token(tmp_path)
    with pytest.raises(Unauthenticated) as caught:
        desk.authenticate(secret)
    assert secret == "" or secret not in str(caught.value)


@given(st.text())
def test_any_text_is_refused_cleanly(secret: str) -> None:
    class Nothing:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    records = Nothing()
    desk = AccessDesk(tokens=records, audit=records, clock=Clock(), ids=SortableIds())  # type: ignore[arg-type]
    for text in (secret, "vlt_" + secret):
        with pytest.raises(Unauthenticated):
            desk.authenticate(text)


def test_issuing_and_revoking(desk: AccessDesk, tmp_path: Path) -> None:
    desk.first_token(tmp_path)
    token, secret = desk.issue("bob@example.org", Role.DEVELOPER)
    assert desk.authenticate(secret) == Principal("bob@example.org", Role.DEVELOPER)
    assert token.sha256 in desk.token_sha256s()
    used = next(t for t in desk.tokens() if t.id == token.id)
    assert token.last_used_at is None
    assert used.last_used_at is not None
    assert desk.revoke(token.id) == used
    with pytest.raises(Unauthenticated):  # at once, though it was remembered
        desk.authenticate(secret)
    assert token.sha256 not in desk.token_sha256s()
    with pytest.raises(NotFound):
        desk.revoke(token.id)


def test_the_last_admin_stays(desk: AccessDesk, tmp_path: Path) -> None:
    desk.first_token(tmp_path)
    (first,) = desk.tokens()
    desk.issue("viewer", Role.VIEWER)
    with pytest.raises(Conflict) as caught:
        desk.revoke(first.id)
    assert "another admin" in caught.value.fix
    desk.issue("second", Role.ADMIN)
    desk.revoke(first.id)


def test_whoever_keeps_a_list_of_tokens_is_told_of_each_change(desk: AccessDesk) -> None:
    told: list[int] = []
    desk.on_change(lambda: told.append(len(desk.token_sha256s())))
    token, _ = desk.issue("ada", Role.ADMIN)
    desk.lend("run/r1/train", Role.DEVELOPER)
    desk.issue("grace", Role.ADMIN)
    desk.revoke(token.id)
    assert told == [1, 1, 2, 3, 2]  # what the same borrower had is revoked first


def test_a_token_revoked_elsewhere_is_remembered_for_seconds_only(
    desk: AccessDesk, store: Store, ticking: Ticking, tmp_path: Path
) -> None:
    desk.first_token(tmp_path)
    token, secret = desk.issue("bob", Role.VIEWER)
    desk.authenticate(secret)
    desk_on(store, Ticking()).revoke(token.id)
    ticking.now = 4.9
    assert desk.authenticate(secret)
    ticking.now = 5.1
    with pytest.raises(Unauthenticated):
        desk.authenticate(secret)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "x" * 64, "a\n", "é"])
def test_names_that_no_principal_may_have(desk: AccessDesk, name: str) -> None:
    with pytest.raises(InvalidInput):
        desk.issue(name, Role.VIEWER)


def test_audit_is_appended_and_paged(desk: AccessDesk) -> None:
    entry = AuditEntry(NOW, "bob", "loops.apply", "loop/wine", "ok", "req-1")
    desk.audit(entry)
    desk.note("bob", "datasets.push", "dataset/wine", "denied")
    entries, cursor = desk.audit_page(10)
    assert cursor is None
    assert entries[1] == entry
    assert entries[0] == AuditEntry(NOW, "bob", "datasets.push", "dataset/wine", "denied")


# -- permissions ------------------------------------------------------------


def test_every_permission_has_its_least_role() -> None:
    assert set(LEAST_ROLE) == set(Permission)


@pytest.mark.parametrize(
    ("permission", "least"),
    [
        ("runs.read", Role.VIEWER),
        ("datasets.push", Role.DEVELOPER),
        ("loops.plan", Role.DEVELOPER),
        ("loops.apply", Role.DEVELOPER),
        ("loops.run", Role.DEVELOPER),
        ("runs.retry", Role.DEVELOPER),
        ("runs.cancel", Role.DEVELOPER),
        ("datasets.release", Role.OPERATOR),
        ("loops.delete", Role.OPERATOR),
        ("tokens.issue", Role.ADMIN),
        ("audit.read", Role.ADMIN),
    ],
)
def test_the_least_roles(permission: str, least: Role) -> None:
    assert [allowed(role, permission) for role in Role] == [role >= least for role in Role]


def test_every_role_may_do_what_the_ones_below_may() -> None:
    for permission, (lower, higher) in itertools.product(Permission, itertools.pairwise(Role)):
        assert allowed(lower, permission) <= allowed(higher, permission)


def test_all_that_only_reads_is_open_to_viewers_but_not_the_admins_own() -> None:
    own = {Permission.AUDIT_READ, Permission.TOKENS_READ}
    for permission in Permission:
        reads = permission.value.endswith(".read") and permission not in own
        assert allowed(Role.VIEWER, permission) is reads


def test_a_denial_tells_the_role_that_is_needed(desk: AccessDesk) -> None:
    viewer = Principal("bob", Role.VIEWER)
    desk.allow(viewer, Permission.RUNS_READ)
    with pytest.raises(PermissionDenied) as caught:
        desk.allow(viewer, "loops.delete")
    assert "bob is a viewer; loops.delete needs the role operator" in caught.value.what
    assert "role operator" in caught.value.fix


def test_a_permission_that_does_not_exist_lets_nobody_in() -> None:
    with pytest.raises(ValueError, match="such"):
        allow(Principal("root", Role.ADMIN), "no.such")


def test_a_bearer_is_known_by_the_hash_of_the_secret(desk: AccessDesk) -> None:
    _, secret = desk.issue("kim", Role.OPERATOR)
    assert desk.bearer(sha256_of(secret)) == Principal("kim", Role.OPERATOR)
    with pytest.raises(Unauthenticated):
        desk.bearer(sha256_of("another"))
