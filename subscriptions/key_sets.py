"""``/.well-known/kafkahub/keys/{ep}.json``: the public keys of an endpoint, for anybody."""

from base64 import b64decode, urlsafe_b64encode

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from kafkahub import signing
from kafkahub.drf import answers
from subscriptions.models import SigningSecret

MAX_AGE_S = 300
"""How long a receiver may keep the set. A rotation's new key signs at once: a receiver that meets
a key id it does not know asks again."""


@require_safe
def key_set(_: HttpRequest, endpoint: str) -> HttpResponse:
    """Return the ed25519 keys that sign now as a JSON Web Key Set, newest first.

    An endpoint without any is as unknown as one that never was: ids are not to be tried out.
    Source: RFC 7517, RFC 8037.
    """
    # By the index of the foreign key; an endpoint has few secrets.
    secrets = SigningSecret.objects.signing().filter(
        endpoint=endpoint, kind=SigningSecret.Kind.ED25519
    )
    keys = [_key(secret) for secret in secrets.order_by("-id").only("id", "public_key")]
    if not keys:
        raise Http404
    headers = {**answers.HEADERS, "Cache-Control": f"public, max-age={MAX_AGE_S}"}
    answer = answers.json({"keys": keys}, headers=headers)
    answer.headers["Content-Type"] = "application/jwk-set+json"
    return answer


def _key(secret: SigningSecret) -> dict[str, str]:
    raw = b64decode(secret.public_key.removeprefix(signing.PUBLIC_PREFIX))
    point = urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
        "kid": secret.id,
        "x": point,
    }
