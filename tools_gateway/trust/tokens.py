"""Who holds a bearer token: a tenant of the operator's file, or whoever an authorization server names for this gateway."""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt

from turnwise.errors import SettingsError
from turnwise.tools_gateway.registry.access import EVERY_SCOPE
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import Principal

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a key pair alone: with a shared secret, whoever can check a token can make one."""
LEEWAY_S = 30
"""By which clocks may differ."""
LOOK_EVERY_S = 1.0
"""How soon keys that were taken out of their file are good for nothing."""
TELL_EVERY_S = 1.0
"""Between two lines of the log that say why somebody was refused: anybody can send wrong tokens as fast as they like."""
MAX_TOKEN = 16 * 1024
MAX_KNOWN = 4096
"""Tokens whose signature need not be checked again before they expire."""
log = logging.getLogger(__name__)

_TYPES = frozenset(("at+jwt", "application/at+jwt", "jwt"))


class Unauthorized(Exception):
    """A token is not good for this gateway; the message says why, and never holds any of it."""


class Tokens:
    """Tells principals by their tokens. No token is kept, logged or passed on: digests are.

    Raises `SettingsError` where the keys of `[auth]` cannot be read. `now` is the seconds of the epoch.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._auth = settings.auth
        self._now = now
        self._told_at = -math.inf
        self._of_file = [
            (bytes.fromhex(digest), Principal(tenant.name, frozenset((EVERY_SCOPE,))))
            for tenant in settings.tenants
            for digest in tenant.token_sha256
        ]
        self._tenants = frozenset(tenant.name for tenant in settings.tenants)
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._keys = _Keys(Path(self._auth.jwks_file)) if self._auth.issuer else None

    @property
    def are_needed(self) -> bool:
        """Whether anybody must say who they are."""
        return bool(self._tenants) or self._keys is not None

    def principal(self, token: str) -> Principal | None:
        """The tenant and the scopes of a token that is good for this gateway now; None for any other."""
        try:
            return self.verified(token)
        except Unauthorized as why:
            if not 0 <= self._now() - self._told_at < TELL_EVERY_S:
                self._told_at = self._now()
                log.info("a request was refused: %s", why)
            return None

    def verified(self, token: str | None) -> Principal:
        """The principal of a token, or the unnamed one where none is needed; raises `Unauthorized`."""
        if not self.are_needed:
            return Principal("")
        if not token:
            raise Unauthorized("a bearer token is needed")
        if len(token) > MAX_TOKEN:
            raise Unauthorized("the token is too long")
        digest = sha256(token.encode("utf-8", "replace")).digest()
        found: Principal | None = None
        for known, principal in self._of_file:
            # All are compared, in constant time each: how long it takes tells nothing of any of them.
            if hmac.compare_digest(known, digest):
                found = principal
        if found is not None:
            return found
        if self._keys is None:
            raise Unauthorized("the token is not known")
        if self._keys.look(self._now()):
            # What a key that is gone has signed was known until now.
            self._known.clear()
        principal, expires = self._known.get(digest) or self._claimed(token, self._keys)
        if self._now() >= expires + LEEWAY_S:
            self._known.pop(digest, None)
            raise Unauthorized("the token has expired")
        self._known[digest] = (principal, expires)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return principal

    def _claimed(self, token: str, keys: _Keys) -> tuple[Principal, float]:
        """What a signed token says of its holder, and when it expires."""
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ", "jwt")).lower() not in _TYPES:
                raise Unauthorized("the token is no access token")
            claims: dict[str, Any] = jwt.decode(
                token,
                keys.find(header.get("kid")),
                algorithms=list(ALGORITHMS),
                audience=self._auth.audience,
                issuer=self._auth.issuer,
                leeway=LEEWAY_S,
                # Expiry is held against the clock that was given.
                options={"require": ["exp", "aud", "iss"], "verify_exp": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(_REASONS.get(type(error), "the token cannot be verified")) from None
        tenant = claims.get(self._auth.tenant_claim)
        if not isinstance(tenant, str) or not 0 < len(tenant) <= 128 or not tenant.isprintable():
            raise Unauthorized(f"the token has no claim {self._auth.tenant_claim} that names a tenant")
        if self._tenants and tenant not in self._tenants:
            raise Unauthorized("the token's tenant is not one of this gateway")
        scopes = claims.get("scope", "")
        expires = claims["exp"]
        if not isinstance(scopes, str) or not isinstance(expires, int | float):
            raise Unauthorized("the token's claims are not of their types")
        return Principal(tenant, frozenset(scopes.split()) - {EVERY_SCOPE}), float(expires)


_REASONS: dict[type[Exception], str] = {
    jwt.InvalidAudienceError: "the token was issued for somebody else",
    jwt.InvalidIssuerError: "the token was issued by somebody else",
    jwt.InvalidSignatureError: "the token's signature is wrong",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAlgorithmError: "the token is signed in a way that is not taken",
    jwt.MissingRequiredClaimError: "the token lacks exp, aud or iss",
    jwt.DecodeError: "the token is no JSON web token",
}


class _Keys:
    """The issuer's public keys, read again when their file has changed.

    While it cannot be read, or holds no keys, those before stand: a file that is being written must stop nobody.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark: tuple[int, int, int] | None = None
        self._looked_at = -math.inf
        self._keys: list[jwt.PyJWK] = []
        try:
            self._read()
        except OSError as error:
            raise SettingsError(f"`auth.jwks_file`: {file}: cannot be read: {error.strerror}") from None
        except (jwt.PyJWTError, ValueError):
            raise SettingsError(f"`auth.jwks_file`: {file}: is no set of public keys (RFC 7517)") from None

    def look(self, now: float) -> bool:
        """Read the file again where it has changed, looking once a second at most; says whether there are other keys now."""
        if 0 <= now - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = now
        mark = self._marked()
        if mark == self._mark:
            return False
        try:
            self._read()
        except (OSError, jwt.PyJWTError, ValueError):
            self._mark = mark
            log.error("`auth.jwks_file`: %s: holds no keys any more: those before stand", self._file)  # noqa: TRY400 - it says all
            return False
        return True

    def find(self, kid: object) -> jwt.PyJWK:
        """The key that a token names, or the only one; raises `Unauthorized`."""
        key = self._with(kid)
        if key is None:
            raise Unauthorized("the token is signed with a key that is not the issuer's")
        return key

    def _with(self, kid: object) -> jwt.PyJWK | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == kid), None)

    def _marked(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None where there is none."""
        try:
            facts = self._file.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino, facts.st_size

    def _read(self) -> None:
        mark = self._marked()
        keys = jwt.PyJWKSet.from_json(self._file.read_text(encoding="utf-8")).keys
        if any(key.algorithm_name not in ALGORITHMS for key in keys):
            raise ValueError("a key of another kind")
        self._keys, self._mark = keys, mark
