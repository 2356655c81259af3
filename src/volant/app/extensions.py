"""The registry of outside services, bound to this home: its key, and this server's own
records."""

from __future__ import annotations

import os
from functools import partial

from pydantic import SecretStr

from volant.app.home import Home
from volant.extensions.builtin import built_in
from volant.extensions.desk import ExtensionDesk
from volant.extensions.revealing import any_sealed
from volant.extensions.sealing import Keyring
from volant.ports.clock import Clock, Ids
from volant.settings import Settings
from volant.store import Store


def extension_desk(
    store: Store, home: Home, settings: Settings, clock: Clock, ids: Ids
) -> ExtensionDesk:
    """The desk. Nothing is read or made before it is asked for. The keys are taken out of
    this process's environment: what it starts from now on doesn't inherit them."""
    for name in ("VOLANT_SECRET_KEY", "VOLANT_SECRET_KEY_OLD"):
        os.environ.pop(name, None)
    keys = Keyring(
        home.root,
        given=_text(settings.secret_key),
        before=_text(settings.secret_key_old),
        in_use=partial(any_sealed, store.extensions),
    )
    return ExtensionDesk(
        store.extensions, keys, lambda: built_in(own_url(home, settings)), clock, ids
    )


def own_url(home: Home, settings: Settings) -> str:
    """Where this server is reached; before it listens, where it will be."""
    return str(home.server().get("url") or f"http://{settings.host}:{settings.port}")


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
