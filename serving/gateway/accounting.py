"""Intents and outcomes into the outbox, and what each attempt cost by the ledger's own computation."""

import asyncio
from typing import Final

import msgspec

from serving.gateway.account_metrics import SHRUNK
from serving.gateway.admission import KeyedAdmission
from serving.gateway.costs import Spent, spent
from serving.gateway.defects import survived
from serving.gateway.envelopes import NOT_UNDERSTOOD, unsent
from serving.gateway.frames import INTENT, OUTCOME, framed
from serving.gateway.outbox import OUTCOME_ROOM_BYTES, Outbox, WriteFailedError
from serving.gateway.records import Intent, Outcome
from serving.gateway.replies import Members
from tokenledger.normalise.assemble import without_texts
from tokenledger.process import Context

GIVEN_UP: Final = "given_up_before_sending"
"""`error_type` of an attempt whose caller left, or whose intent could not be written, before anything was sent."""

_MAX_TEXT_CHARS: Final = 256
_KEPT_OF_REPLY: Final = ("id", "object", "created", "model", "service_tier")
_COUNTS: Final = ("usage", "x_groq", "timings")
"""Where a reply may say what it counted."""
_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(Members)
_plain: Final = msgspec.json.Decoder()


class OutboxAccounting:
    """Accounting by an outbox. Used on the event loop of the outbox."""

    def __init__(self, outbox: Outbox, admission: KeyedAdmission, *, context: Context) -> None:
        self._outbox = outbox
        self._admission = admission
        self.context = context
        """What to price with; whoever follows the price book puts a newer one here."""

    async def intend(self, intent: Intent) -> None:
        """Returns once the intent is on disk. Raises OutboxFullError.

        If it raises, or is cancelled, nothing may be sent and nothing must be settled: whatever of the intent is on
        disk has got its outcome. After OutboxFullError the reservation is the caller's to release; a cancelled one is
        released here, for a cancelled caller may not get to it.
        """
        outbox, frame = self._outbox, _intent_frame(intent)
        is_written = False
        try:
            if not outbox.has_room_for(frame):
                await outbox.room_for(frame)
            is_written = True
            await outbox.write(frame)
        except (WriteFailedError, asyncio.CancelledError) as failure:
            if is_written:
                outbox.append(_outcome_frame(unsent(intent, GIVEN_UP)))
            if isinstance(failure, asyncio.CancelledError):
                self._admission.release(intent)
            raise

    def settle(self, intent: Intent, outcome: Outcome) -> int | None:
        """Takes the outcome, frees the reservation; the call's known cost in 10⁻¹² USD, None where not wholly known."""
        self._outbox.append(_outcome_frame(outcome))
        cost_usd_pico, tokens = survived("cost", lambda: self._spent(intent, outcome)) or Spent(None, None)
        self._admission.settle(intent, cost_usd_pico, tokens=tokens)
        return cost_usd_pico

    def _spent(self, intent: Intent, outcome: Outcome) -> Spent:
        return spent(intent, outcome, epoch=self._outbox.epoch.name, context=self.context)

    def record(self, intent: Intent, outcome: Outcome) -> None:
        """Takes an answer of the cache, which costs nothing and waits for nobody. Raises OutboxFullError."""
        self._outbox.take(_intent_frame(intent), _outcome_frame(outcome))


def _intent_frame(intent: Intent) -> bytes:
    try:
        return framed(INTENT, _encode(intent))
    except ValueError:
        fields = msgspec.structs.asdict(intent)
        bounded = {name: value[:_MAX_TEXT_CHARS] for name, value in fields.items() if isinstance(value, str)}
        return framed(INTENT, _encode(msgspec.structs.replace(intent, **bounded)))


def _outcome_frame(outcome: Outcome) -> bytes:
    """The outcome in the room that was kept for it: what is longer loses what matters least to its cost."""
    payload = survived("outcome", lambda: _payload(outcome))
    return framed(OUTCOME, payload or _bare(outcome, NOT_UNDERSTOOD))


def _payload(outcome: Outcome) -> bytes:
    payload = _encode(outcome)
    return payload if len(payload) <= _PAYLOAD_ROOM_BYTES else _shrunk(outcome)


_PAYLOAD_ROOM_BYTES: Final = OUTCOME_ROOM_BYTES - 64


def _shrunk(outcome: Outcome) -> bytes:
    members = _members_of(outcome.reply)
    plain = {name: _decoded(members[name]) for name in (*_KEPT_OF_REPLY, *_COUNTS, "error") if name in members}
    kept: dict[str, object] = {name: _short(plain[name]) for name in _KEPT_OF_REPLY if name in plain}
    kept |= {name: without_texts(value) for name in _COUNTS if isinstance(value := plain.get(name), dict)}
    if "error" in plain:
        kept["error"] = {"type": _short_error(plain["error"])}
    kept["choices"] = []
    smaller = msgspec.structs.replace(outcome, token_times_us=(), reply=msgspec.Raw(_encode(kept)))
    payload = _encode(smaller)
    if len(payload) <= _PAYLOAD_ROOM_BYTES:
        SHRUNK.labels("usage").inc()
        return payload
    # Nobody reports usage in four kilobytes; what does is not understood either.
    SHRUNK.labels("nothing").inc()
    return _bare(outcome, "outcome_too_large")


def _bare(outcome: Outcome, why: str) -> bytes:
    """That it came to its end, and nothing of what the upstream said."""
    bare = Outcome(event_id=outcome.event_id, http_status=outcome.http_status, ended_at_us=outcome.ended_at_us,
                   aborted=True, error_type=why, output_chunks=outcome.output_chunks)  # fmt: skip
    return _encode(bare)


def _members_of(reply: msgspec.Raw | None) -> Members:
    try:
        return {} if reply is None else _members.decode(reply)
    except _WRONG:
        return {}


def _decoded(value: msgspec.Raw) -> object:
    """A member of a reply; None where it is none that can be read."""
    try:
        return _plain.decode(value)
    except _WRONG:
        return None


def _short(value: object) -> object:
    return value[:_MAX_TEXT_CHARS] if isinstance(value, str) else value if isinstance(value, int) else None


def _short_error(error: object) -> object:
    kind = error.get("type") or error.get("code") if isinstance(error, dict) else None
    return _short(kind) or "error"
