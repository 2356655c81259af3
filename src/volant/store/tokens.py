"""Tokens: hashes of secrets, never the secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from volant.domain.principal import Token
from volant.errors import Conflict
from volant.store.engine import Database
from volant.store.rows import columns, missing, one, record, several, values
from volant.store.schema import tokens


class SqlTokens:
    """`TokenRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, token: Token) -> None:
        with self._database.write() as work:
            if not work.insert_new(tokens, values(tokens, token)):
                raise Conflict(
                    f"A token {token.id!r} or one with the same secret exists already.",
                    "Make a new secret.",
                )

    def find(self, sha256: str) -> Token | None:
        statement = sa.select(*columns(tokens)).where(tokens.c.sha256 == sha256)
        with self._database.read() as connection:
            row = one(connection, statement)
        return None if row is None else record(Token, row)

    def touch(self, token_id: str, at: datetime) -> None:
        with self._database.write() as work:
            work.changed(sa.update(tokens).where(tokens.c.id == token_id).values(last_used_at=at))

    def list(self) -> Sequence[Token]:
        statement = sa.select(*columns(tokens)).order_by(tokens.c.created_at, tokens.c.id)
        with self._database.read() as connection:
            return several(connection, Token, statement)

    def delete(self, token_id: str) -> None:
        with self._database.write() as work:
            if not work.changed(sa.delete(tokens).where(tokens.c.id == token_id)):
                raise missing("token", token_id)
