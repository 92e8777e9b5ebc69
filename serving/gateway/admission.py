"""Who may send what: keys found by HMAC, scopes, rates and budgets, all decided in memory.

What is decided by was loaded by `serving.gateway.books` and is replaced whole; while Postgres is away the last of it
holds, and before it was loaded once nobody is admitted.
"""

import hmac
import secrets
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

from ledger.api_keys import KEY_PREFIX, ApiKey, digest
from serving.gateway import refusals
from serving.gateway.account_metrics import ABOVE_RESERVATION, REFUSED, UNKNOWN_COST, UNPRICED
from serving.gateway.budgets import Budgets
from serving.gateway.envelopes import event_key
from serving.gateway.rates import Bucket, duration
from serving.gateway.records import Admitted, Intent, Refusal
from tokenledger.pricing.bound import Bounds

_BEARER: Final = b"bearer "
_ENDS: Final = b"tl-"
_MAX_KEY_BYTES: Final = 256
_MAX_FEATURE_CHARS: Final = 256
_MOST_FOUND: Final = 10_000

assert _ENDS.decode() == KEY_PREFIX  # noqa: S101  (one prefix, told twice for the two types)


class KeyedAdmission:
    """Admission by the keys and budgets of the ledger. Used from one thread."""

    def __init__(
        self,
        *,
        secret: bytes,
        epoch: str,
        bounds: Bounds,
        budgets: Budgets,
        clock_us: Callable[[], int],
        refuse_unpriced: bool,
    ) -> None:
        self._secret = secret
        self.epoch = epoch
        self.bounds = bounds
        """What a call may cost at most; whoever follows the price book puts those of a newer one here."""
        self._budgets = budgets
        self._clock_us = clock_us
        self._refuse_unpriced = refuse_unpriced
        self._keys: dict[bytes, ApiKey] | None = None
        self._found_by: dict[bytes, ApiKey] = {}
        """Keys found before, by a hash of this process's own that takes a quarter of the time of the ledger's."""
        self._salt = secrets.token_bytes(32)
        self._by_id: dict[str, ApiKey] = {}
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}
        self.open = False
        """Whether budgets know what was spent; nobody is admitted before."""

    @property
    def epoch(self) -> str:
        """The epoch whose events are reserved for."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: str) -> None:
        self._epoch = epoch
        self._key_prefix = event_key(epoch, "")

    def set_keys(self, keys: Iterable[ApiKey]) -> None:
        """These keys hold from now on, and no others."""
        valid = [key for key in keys if key.revoked_at_us is None]
        self._keys = {key.hmac: key for key in valid}
        self._found_by.clear()
        self._by_id = {key.key_id: key for key in valid}
        for buckets in (self._requests, self._tokens):
            for key_id in buckets.keys() - self._by_id.keys():
                del buckets[key_id]

    # Admission

    def admit(self, *, authorization: bytes | None, api: str, model: str, feature: str | None) -> Admitted | Refusal:
        """By key: known, not expired, allowed this API and model, within its request rate."""
        found = self._decided(authorization, api=api, model=model, feature=feature)
        if isinstance(found, Refusal):
            REFUSED.labels(found.code).inc()
        return found

    def _decided(self, authorization: bytes | None, *, api: str, model: str, feature: str | None) -> Admitted | Refusal:
        if self._keys is None or not self.open:
            return refusals.NOT_READY
        key = self._found(authorization)
        if key is None:
            return refusals.UNKNOWN_KEY if authorization else refusals.NO_KEY
        now_us = self._clock_us()
        out_of_scope = _out_of_scope(key, api=api, model=model, now_us=now_us)
        if out_of_scope is not None:
            return out_of_scope
        if key.requests_per_min is not None:
            bucket = _bucket(self._requests, key.key_id, limit=key.requests_per_min)
            wait_us = bucket.take(1, now_us)
            if wait_us is not None:
                return refusals.too_fast("requests", bucket.limit, wait_us=wait_us, headers=self._rates(key, now_us))
        return Admitted(
            tenant_id=key.tenant_id,
            api_key_id=key.key_id,
            project=key.project,
            environment=key.environment,
            feature=_feature(key, feature),
            models=key.models,
            headers=self._rates(key, now_us),
        )

    def _found(self, authorization: bytes | None) -> ApiKey | None:
        if authorization is None or authorization[:7].lower() != _BEARER:
            return None
        presented = authorization[7:].strip()
        if not presented.startswith(_ENDS) or len(presented) > _MAX_KEY_BYTES:
            return None
        quick = blake2b(presented, digest_size=32, key=self._salt).digest()
        return self._found_by.get(quick) or self._looked_up(presented, quick)

    def _looked_up(self, presented: bytes, quick: bytes) -> ApiKey | None:
        wanted = digest(self._secret, presented)
        key = (self._keys or {}).get(wanted)
        if key is None or not hmac.compare_digest(key.hmac, wanted):
            return None
        if len(self._found_by) >= _MOST_FOUND:
            self._found_by.clear()
        self._found_by[quick] = key
        return key

    def _rates(self, key: ApiKey, now_us: int) -> tuple[tuple[bytes, bytes], ...]:
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if key.requests_per_min is not None:
            headers = _REQUESTS.told(_bucket(self._requests, key.key_id, limit=key.requests_per_min), now_us=now_us)
        if key.tokens_per_min is not None:
            headers += _TOKENS.told(_bucket(self._tokens, key.key_id, limit=key.tokens_per_min), now_us=now_us)
        return headers

    # Reservations

    def reserve(self, intent: Intent) -> int | Refusal:
        """Takes the most this attempt can cost from every budget it counts against, and its tokens from the rates."""
        found = self._reserved(intent)
        if isinstance(found, Refusal):
            REFUSED.labels(found.code).inc()
        return found

    def _reserved(self, intent: Intent) -> int | Refusal:
        key = self._by_id.get(intent.api_key_id)
        if key is None:
            return refusals.UNKNOWN_KEY  # revoked since it was admitted
        tokens, now_us = _most_tokens(intent), self._clock_us()
        bucket = None if key.tokens_per_min is None else _bucket(self._tokens, key.key_id, limit=key.tokens_per_min)
        if bucket is not None and (wait_us := bucket.take(tokens, now_us)) is not None:
            return refusals.too_many_tokens(tokens, bucket.limit, wait_us=wait_us, headers=self._rates(key, now_us))
        amount = self._reserved_amount(intent)
        if isinstance(amount, Refusal) and bucket is not None:
            bucket.give_back(tokens)
        return amount

    def _reserved_amount(self, intent: Intent) -> int | Refusal:
        if not self._budgets.limited(intent.tenant_id):
            return 0
        most = self._most_usd_pico(intent)
        if most is None:
            if self._refuse_unpriced:
                return refusals.unpriced(intent.request_model)
            UNPRICED.inc()
            most = 0
        exhausted = self._budgets.reserve(
            self._key_prefix + intent.event_id,
            most,
            tenant_id=intent.tenant_id,
            feature=intent.feature,
            at_us=intent.started_at_us,
        )
        return (
            most
            if exhausted is None
            else refusals.exhausted(exhausted.budget, used_usd_pico=exhausted.used_usd_pico, most_usd_pico=most)
        )

    def _most_usd_pico(self, intent: Intent) -> int | None:
        asked = (
            intent.tenant_id, intent.provider, None, None, intent.request_model, intent.deployment_id, intent.engine,
            None, None, intent.service_tier, None, None, None,
        )  # fmt: skip
        return self.bounds.most_usd_pico(
            asked,
            at_us=intent.started_at_us,
            input_tokens=intent.input_tokens_estimate,
            output_tokens=intent.output_tokens_limit,
        )

    def release(self, intent: Intent) -> None:
        """Gives back the reservation of an attempt that never reached an upstream."""
        self._budgets.release(self._key_prefix + intent.event_id)
        self._give_back_tokens(intent, _most_tokens(intent))

    def settle(self, intent: Intent, cost_usd_pico: int | None, *, tokens: int | None) -> None:
        """What the attempt came to: an unknown cost leaves what was reserved as spent, unknown tokens all of them."""
        if cost_usd_pico is None:
            UNKNOWN_COST.inc()
        elif cost_usd_pico > intent.reserved_usd_pico and self._budgets.limited(intent.tenant_id):
            ABOVE_RESERVATION.inc()
        self._budgets.settle(self._key_prefix + intent.event_id, cost_usd_pico)
        if tokens is not None:
            self._give_back_tokens(intent, _most_tokens(intent) - tokens)

    def _give_back_tokens(self, intent: Intent, tokens: int) -> None:
        bucket = self._tokens.get(intent.api_key_id)
        if bucket is not None:
            bucket.give_back(tokens)


def _bucket(buckets: dict[str, Bucket], key_id: str, *, limit: int) -> Bucket:
    found = buckets.get(key_id)
    if found is None:
        found = buckets[key_id] = Bucket(limit)
    elif found.limit != limit:
        found.limit = limit
    return found


class _Told:
    """The headers that tell of one kind of rate."""

    __slots__ = ("_limit", "_remaining", "_reset")

    def __init__(self, what: bytes) -> None:
        self._limit = b"x-ratelimit-limit-" + what
        self._remaining = b"x-ratelimit-remaining-" + what
        self._reset = b"x-ratelimit-reset-" + what

    def told(self, bucket: Bucket, *, now_us: int) -> tuple[tuple[bytes, bytes], ...]:
        """As OpenAI has them."""
        return (
            (self._limit, b"%d" % bucket.limit),
            (self._remaining, b"%d" % bucket.remaining(now_us)),
            (self._reset, duration(bucket.reset_us(now_us))),
        )


_REQUESTS: Final = _Told(b"requests")
_TOKENS: Final = _Told(b"tokens")


def _out_of_scope(key: ApiKey, *, api: str, model: str, now_us: int) -> Refusal | None:
    if key.expires_at_us is not None and now_us >= key.expires_at_us:
        return refusals.EXPIRED_KEY
    if api == "models":
        return None
    if key.apis is not None and api not in key.apis:
        return refusals.wrong_api(api, key.apis)
    if key.models is not None and not _covered(key.models, model):
        return refusals.wrong_model(model)
    return None


def _covered(models: tuple[str, ...], model: str) -> bool:
    return any(model.startswith(one[:-1]) if one.endswith("*") else model == one for one in models)


def _feature(key: ApiKey, named: str | None) -> str | None:
    """The request's word where the key lets it have one."""
    if named and len(named) <= _MAX_FEATURE_CHARS and (named in key.features or "*" in key.features):
        return named
    return key.feature


def _most_tokens(intent: Intent) -> int:
    return intent.input_tokens_estimate + intent.output_tokens_limit
