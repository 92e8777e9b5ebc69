"""Operations → candidate rows: the line that would be written, and what decides whether it will be. Pure."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from dags.core import words
from dags.core.attempts import Attempt, last, refused, served
from dags.core.left_out import Reason, not_good_enough, out_of_scope
from dags.core.recipe import Recipe
from dags.core.router_pairs import router_row
from dags.core.split import side, split_key
from dags.core.strata import question, stratum
from tokenledger.records.texts import CapturedText

CHAT: Final = "chat"
PREFERENCE: Final = "preference"
EVAL: Final = "eval"
PAIR: Final = "pair"


class _Shape(Protocol):
    """How a preference pair is written."""

    def __call__(self, attempt: Attempt, chosen: dict[str, Any], *, rejected: dict[str, Any]) -> dict[str, Any]:
        """The line."""


_LINE: Final = msgspec.json.Encoder(order="deterministic")
_LINE_ENDS: Final = tuple((chr(point).encode(), b"\\u%04x" % point) for point in (0x85, 0x2028, 0x2029))


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the index says of a row beside its place: whose it is and where it came from. No text."""

    row_id: str
    """Hash of what it was made from."""
    tenant_id: str
    """Tenant."""
    event_keys: tuple[str, ...]
    """Calls it was made from."""
    user_hash: str | None = None
    """Data subject."""
    feature: str | None = None
    """Product feature."""
    tier: str | None = None
    """Tier that answered."""
    model: str | None = None
    """Model that answered."""
    started_at_us: int
    """Event time of the answer's call, µs UTC."""
    group: str = ""
    """Group or stratum it counts in."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One row that may be written."""

    kind: str
    """`chat`, `preference`, `eval` or `pair`."""
    side: str
    """Side of the split; empty where there is none."""
    line: bytes
    """What is written, without the line end."""
    says: str
    """What is compared for duplicates, as normal text."""
    asks: str
    """What is compared for leakage, as normal text."""
    about: About
    """For the index."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Why an operation gave no row of a kind."""

    kind: str
    """Kind of row."""
    reason: Reason
    """Why."""


def row_id(kind: str, attempts: Sequence[Attempt]) -> str:
    """The same calls make the same row, in whatever order they came."""
    keys = sorted((one.text.tenant_id, one.text.event_key) for one in attempts)
    return hashlib.sha256(msgspec.json.encode([kind, keys])).hexdigest()[:32]


def group_of(text: CapturedText, by: Sequence[str]) -> str:
    """The group of a row, as one word a field."""
    fields = {"tenant": text.tenant_id, "feature": text.feature, "tier": text.route_tier, "model": text.model}
    return "/".join(fields[name] or "-" for name in by)


def made(attempts: Sequence[Attempt], recipe: Recipe) -> Iterator[Candidate | Left]:
    """What one operation gives: for each kind of row of the recipe, the row or why there is none."""
    yield from _MAKERS[recipe.kind](attempts, recipe)


def _finetune(attempts: Sequence[Attempt], recipe: Recipe) -> Iterator[Candidate | Left]:
    yield _chat(attempts, recipe)
    if recipe.preferences is not None:
        yield _preference(attempts, recipe, shape=_SHAPES[recipe.preferences.format])


def _chat(attempts: Sequence[Attempt], recipe: Recipe) -> Candidate | Left:
    best = served(attempts)
    if best is None or best.answer is None:
        return Left(kind=CHAT, reason=Reason.NO_ANSWER)
    if reason := out_of_scope(best.text, recipe.filters) or not_good_enough(best, recipe.filters):
        return Left(kind=CHAT, reason=reason)
    line: dict[str, Any] = {"messages": [*best.messages, best.answer]} | _tools(best)
    said = "\n".join(map(words.spoken, line["messages"]))
    return _candidate(CHAT, (best,), line=line, says=said, recipe=recipe)


def _preference(attempts: Sequence[Attempt], recipe: Recipe, *, shape: _Shape) -> Candidate | Left:
    strong, cheap = served(attempts), refused(attempts)
    if strong is None or cheap is None or strong.answer is None or cheap.answer is None:
        return Left(kind=PREFERENCE, reason=Reason.NOT_ESCALATED)
    if reason := out_of_scope(strong.text, recipe.filters) or not_good_enough(strong, recipe.filters):
        return Left(kind=PREFERENCE, reason=reason)
    chosen, rejected = words.spoken(strong.answer), words.spoken(cheap.answer)
    if words.normal(chosen) == words.normal(rejected):
        return Left(kind=PREFERENCE, reason=Reason.SAME_ANSWER)
    if _judged(cheap) is not None and (_judged(strong) or 0) <= (_judged(cheap) or 0):
        return Left(kind=PREFERENCE, reason=Reason.CHEAP_NOT_WORSE)
    line = shape(strong, strong.answer, rejected=cheap.answer)
    said = "\n".join((*map(words.spoken, strong.messages), chosen, rejected))
    return _candidate(PREFERENCE, (strong, cheap), line=line, says=said, recipe=recipe)


def _judged(attempt: Attempt) -> float | None:
    return None if attempt.score is None else attempt.score.judge


def _tools(attempt: Attempt) -> dict[str, Any]:
    return {"tools": attempt.tools} if attempt.tools else {}


def _openai(attempt: Attempt, chosen: dict[str, Any], *, rejected: dict[str, Any]) -> dict[str, Any]:
    asked = {"messages": attempt.messages} | _tools(attempt)
    return {"input": asked, "preferred_output": [chosen], "non_preferred_output": [rejected]}


def _trl(attempt: Attempt, chosen: dict[str, Any], *, rejected: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": attempt.messages, "chosen": [chosen], "rejected": [rejected]} | _tools(attempt)


_SHAPES: Final[dict[str, _Shape]] = {
    "openai": _openai,
    "trl": _trl,
}


def _evaluation(attempts: Sequence[Attempt], recipe: Recipe) -> Iterator[Candidate | Left]:
    best = served(attempts) or last(attempts)
    if reason := out_of_scope(best.text, recipe.filters):
        yield Left(kind=EVAL, reason=reason)
        return
    asked = question(attempts, recipe)
    if isinstance(asked, Reason):
        yield Left(kind=EVAL, reason=asked)
        return
    line = asked.line | {"id": row_id(EVAL, (best,))}
    group = stratum(asked, recipe.strata)
    yield _candidate(EVAL, (best,), line=line, says=words.prompt(best.messages), recipe=recipe, group=group)


def _router(attempts: Sequence[Attempt], recipe: Recipe) -> Iterator[Candidate | Left]:
    best = served(attempts)
    if best is None:
        yield Left(kind=PAIR, reason=Reason.NO_ANSWER)
        return
    row = out_of_scope(best.text, recipe.filters) or router_row(attempts, recipe.router)
    if isinstance(row, Reason):
        yield Left(kind=PAIR, reason=row)
        return
    yield _candidate(PAIR, (best,), line=row, says=words.prompt(best.messages), recipe=recipe)


_MAKERS: Final[Mapping[str, Callable[[Sequence[Attempt], Recipe], Iterator[Candidate | Left]]]] = {
    "finetune": _finetune,
    "eval": _evaluation,
    "router_pairs": _router,
}


def one_line(row: dict[str, Any]) -> bytes:
    """JSON that is one line for every reader, those too that break lines where Unicode says so."""
    line = _LINE.encode(row)
    for said, escaped in _LINE_ENDS:
        line = line.replace(said, escaped)
    return line


def _candidate(
    kind: str,
    sources: Sequence[Attempt],
    *,
    line: dict[str, Any] | bytes,
    says: str,
    recipe: Recipe,
    group: str | None = None,
) -> Candidate:
    text = sources[0].text
    return Candidate(
        kind=kind,
        side=side(split_key(text, recipe.split), recipe.split) if recipe.kind == "finetune" else "",
        line=line if isinstance(line, bytes) else one_line(line),
        says=words.normal(says),
        asks=words.normal(words.prompt(sources[0].messages)),
        about=About(
            row_id=row_id(kind, sources),
            tenant_id=text.tenant_id,
            event_keys=tuple(one.text.event_key for one in sources),
            user_hash=text.user_hash,
            feature=text.feature,
            tier=text.route_tier,
            model=text.model,
            started_at_us=text.started_at_us,
            group=group_of(text, recipe.balance.by) if group is None and recipe.balance else group or "",
        ),
    )
