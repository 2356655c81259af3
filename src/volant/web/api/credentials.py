"""The two ways in which clients of other protocols send a token."""

from __future__ import annotations

import base64


def token_of(authorization: str) -> str:
    """The token in an Authorization header: a bearer's, or the password of basic
    authentication with any user name. Empty when there is none."""
    scheme, _, secret = authorization.partition(" ")
    token = secret.strip()
    if scheme.lower() == "basic":
        try:
            _, _, token = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:  # no base64, or no UTF-8 in it
            return ""
        return token
    return token if scheme.lower() == "bearer" else ""
