"""Services that speak HTTP, asked by a real request of their API."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from volant.domain.semver import Version
from volant.extensions.probing import TIMEOUT_S, Found, Target, no_answer, not_let_in

if TYPE_CHECKING:
    import httpx

_EMPTY = hashlib.sha256(b"").hexdigest()


def mlflow(target: Target) -> Found:
    """`/health` says OK, and `/version` which release it is."""
    if _get(target, "/health").text.strip() != "OK":
        raise no_answer(target, "/health doesn't say OK")
    version = _get(target, "/version").text.strip()
    if Version.parse(version) is None:
        raise no_answer(target, "/version is no version")
    # Both are open; whoever may read experiments is let in.
    _get(target, "/api/2.0/mlflow/experiments/search?max_results=1")
    return Found(version, f"MLflow {version}")


def prometheus(target: Target) -> Found:
    """It is ready, and tells its build."""
    _get(target, "/-/ready")
    version = str(_json(target, "/api/v1/status/buildinfo").get("version", ""))
    if not version:
        raise no_answer(target, "/api/v1/status/buildinfo has no version")
    return Found(version, f"Prometheus {version}")


def s3(target: Target) -> Found:
    """With keys, its buckets are listed; without, S3's own refusal is answer enough."""
    import httpx

    headers: Mapping[str, str] = {}
    if target.user and target.password:
        headers = signed(target, f"{target.path}/", datetime.now(UTC))
    answer = _send(target, "/", headers)
    if "<ListAllMyBucketsResult" in answer.text and answer.is_success:
        count = answer.text.count("<Bucket>")
        return Found("", f"S3, {count} bucket{'' if count == 1 else 's'}")
    # AWS itself leads who comes without a key to its front page.
    ours = "x-amz-request-id" in answer.headers or "<Error>" in answer.text
    if not ours:
        raise no_answer(target, f"{answer.status_code}, and no XML of S3's")
    reason = answer.text.partition("<Code>")[2].partition("</Code>")[0]
    if headers and answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED):
        raise not_let_in(target, reason[:100])
    if headers and not answer.is_success:
        raise no_answer(target, f"{answer.status_code} {reason[:100]}".strip())
    return Found("", "S3; no keys were tried")


def signed(
    target: Target, path: str, at: datetime, service: str = "s3", query: str = ""
) -> Mapping[str, str]:
    """Headers that sign a GET without a body: AWS Signature Version 4
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html)."""
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    region = target.region or "us-east-1"
    headers = {"host": urlsplit(target.url).netloc, "x-amz-date": stamp}
    if service == "s3":
        headers["x-amz-content-sha256"] = _EMPTY
    if target.token:
        headers["x-amz-security-token"] = target.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("GET", quote(path), query, lines, names, _EMPTY))
    scope = f"{day}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{target.password}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={target.user}/{scope}, SignedHeaders={names},"
        f" Signature={signature}"
    )
    return headers


def _json(target: Target, path: str) -> Mapping[str, Any]:
    answer = _get(target, path)
    try:
        body = answer.json()["data"]
    except (ValueError, KeyError, TypeError):
        raise no_answer(target, f"{path} is not its JSON") from None
    return body if isinstance(body, dict) else {}


def _get(target: Target, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {target.token}"} if target.token else {}
    answer = _send(target, path, headers)
    if answer.status_code in (401, 403):
        raise not_let_in(target, f"{path} answers {answer.status_code}")
    if not answer.is_success:
        raise no_answer(target, f"{path} answers {answer.status_code}")
    return answer


def _send(target: Target, path: str, headers: Mapping[str, str]) -> httpx.Response:
    import httpx

    basic = (target.user, target.password) if target.user and not headers else None
    try:
        return httpx.get(
            target.url + path,
            headers={"user-agent": "volant", **headers},
            auth=basic,
            timeout=TIMEOUT_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise no_answer(target, str(error) or type(error).__name__) from None
