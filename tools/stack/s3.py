"""Creates buckets: the one S3 call the stack needs, signed with AWS signature version 4."""

import datetime
import hashlib
import hmac
import urllib.parse
from dataclasses import dataclass

from tools.stack.errors import StackError
from tools.stack.http import request

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class S3Endpoint:
    """Address and root keys of the store."""

    url: str
    access_key: str
    secret_key: str
    region: str


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _signed_headers(endpoint: S3Endpoint, method: str, path: str) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": urllib.parse.urlsplit(endpoint.url).netloc,
        "x-amz-content-sha256": EMPTY,
        "x-amz-date": now,
    }
    names = ";".join(headers)
    canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, EMPTY])
    scope = f"{now[:8]}/{endpoint.region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{endpoint.secret_key}".encode()
    for part in (now[:8], endpoint.region, "s3", "aws4_request"):
        key = _hmac(key, part)
    signature = _hmac(key, to_sign).hex()
    credential = f"{endpoint.access_key}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return headers


def ensure_bucket(endpoint: S3Endpoint, bucket: str) -> bool:
    """Creates a bucket unless it is there; returns False if the store is not ready yet.

    Raises:
        StackError: if the store refuses.
    """
    path = f"/{bucket}"
    answer = request("PUT", f"{endpoint.url}{path}", headers=_signed_headers(endpoint, "PUT", path))
    if answer.status not in {200, 409, 503}:
        text = answer.body.decode(errors="replace")[:300]
        raise StackError(f"store refused to create bucket `{bucket}`: {answer.status} {text}")
    return answer.status != 503
