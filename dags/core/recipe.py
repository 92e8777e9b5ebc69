"""What a dataset is to be made of: one TOML file, checked as a whole; an unknown field is refused.

A recipe is part of the manifest, and with the rows it was given it decides every byte of the version.
"""

import re
import tomllib
from typing import Final, Literal

import msgspec

RULES: Final = "2"
"""Version of the rules in this folder. Raise it when they make other bytes of the same rows."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CHECKS: Final = ("answered", "finished", "length", "refusal", "language", "schema", "tool_calls", "readable")
"""Checks a recipe may ask for; a test holds them equal to those that are made."""
_ENDED: Final = ("stop", "end_turn", "stop_sequence", "tool_calls", "tool_use", "STOP", "COMPLETE", "eos")


class Consent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who agreed that texts become training or evaluation data. Nobody, unless named."""

    tenants: tuple[str, ...]
    """Tenants that agreed."""
    features: dict[str, tuple[str, ...]] = {}
    """Tenant → the features it agreed for; a tenant without an entry agreed for all of them."""
    refused_users: tuple[str, ...] = ()
    """`user_hash` of users who did not agree although their tenant did."""


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answers are good enough to be learned from. An empty tuple does not filter."""

    features: tuple[str, ...] = ()
    """Only these features."""
    tiers: tuple[str, ...] = ()
    """Only answers of these tiers."""
    models: tuple[str, ...] = ()
    """Only answers of these models."""
    finish_reasons: tuple[str, ...] = _ENDED
    """Only answers that ended so: one that was cut off teaches to stop in the middle."""
    checks: tuple[str, ...] = ()
    """Checks (`tokenledger score`) an answer must not have failed; one that was not scored is left out."""
    least_judge: float | None = None
    """Least score by the judge; an answer without one is left out."""
    least_chars: int = 1
    """Shortest answer, in characters; a tool call counts as its arguments."""
    most_chars: int = 200_000
    """Longest conversation with its answer, in characters."""


class Preferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pairs from escalations: the cheap answer that was refused, the strong one that was served."""

    format: Literal["openai", "trl"] = "openai"
    """Shape of a line: OpenAI's `preferred_output` or TRL's `chosen`."""


class Duplicates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as said before."""

    threshold: float = 0.85
    """Estimated Jaccard similarity of word 3-grams from which two rows are one; 1 removes exact duplicates only."""
    permutations: int = 128
    """Length of a MinHash signature."""


class Leakage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts that must not be trained on."""

    against: tuple[str, ...] = ()
    """Datasets, `name` (its newest version) or `name@version`."""
    threshold: float = 0.8
    """Estimated Jaccard similarity of prompts from which a row leaks."""


class Balance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No group drowns the others."""

    by: tuple[Literal["tenant", "feature", "tier", "model"], ...] = ("feature",)
    """What a group is."""
    most_rows: int | None = None
    """A group keeps at most so many."""
    most_times_smallest: int | None = None
    """And at most so many times the rows of the smallest group."""


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sides by hash: a row's side depends on its conversation or user and on this, and on no other row."""

    by: Literal["conversation", "user"] = "conversation"
    """What never has rows on two sides. Without it the operation, then the call, stands in."""
    parts: dict[str, int] = msgspec.field(default_factory=lambda: {"train": 90, "validation": 5, "test": 5})
    """Side → weight."""
    salt: str = ""
    """Another salt, another division."""


class Strata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an evaluation set is drawn."""

    by: tuple[Literal["feature", "difficulty", "period", "failure"], ...] = (
        *("feature", "difficulty", "period", "failure"),
    )
    """What a stratum is."""
    rows: int = 500
    """Rows in all; each stratum gives the same number while it has them."""
    period: Literal["day", "week", "month"] = "week"
    """How finely time is divided."""
    cheap_tiers: tuple[str, ...] = ()
    """Tiers whose served answer says that a question was easy."""


class Router(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pairs that `tokenledger router train` takes."""

    tiers: tuple[str, ...] = ()
    """Tiers, the strongest last; an operation counts where the quality of each is known."""
    least_judge: float = 1.0
    """Lowest score of the judge's scale, which is quality 0."""
    most_judge: float = 5.0
    """Highest, which is quality 1."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dataset."""

    name: str
    """Its name: lower-case letters, digits, `.`, `_` and `-`."""
    kind: Literal["finetune", "eval", "router_pairs"] = "finetune"
    """What is made."""
    purpose: str = ""
    """What it is for, as the card says."""
    consent: Consent
    """Who agreed."""
    filters: Filters = Filters()
    """Which answers count."""
    preferences: Preferences | None = None
    """Preference pairs beside the chats; none without this table."""
    duplicates: Duplicates = Duplicates()
    """What counts as said before."""
    leakage: Leakage = Leakage()
    """What must not be trained on."""
    balance: Balance | None = None
    """Limits per group; none without this table."""
    split: Split = Split()
    """Sides."""
    strata: Strata = Strata()
    """Of an evaluation set."""
    router: Router = Router()
    """Of router pairs."""


def recipe(text: str, *, where: str) -> Recipe:
    """The recipe a TOML text states; ValueError says what is wrong with it."""
    try:
        found = msgspec.convert(tomllib.loads(text), Recipe)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{where}: {error}") from None
    if wrong := "; ".join(_wrong(found)):
        raise ValueError(f"{where}: {wrong}")
    return found


def _wrong(given: Recipe) -> list[str]:
    checks = (
        (_NAME.fullmatch(given.name), f"name is {given.name!r}; write lower-case letters, digits, '.', '_' and '-'"),
        (
            set(given.filters.checks) <= set(CHECKS),
            f"filters.checks has {', '.join(sorted({*given.filters.checks} - {*CHECKS}))}; known: {', '.join(CHECKS)}",
        ),
        (given.consent.tenants, "consent.tenants is empty; name the tenants that agreed"),
        (0 < given.duplicates.threshold <= 1, f"duplicates.threshold is {given.duplicates.threshold}; it is in (0, 1]"),
        (
            16 <= given.duplicates.permutations <= 512,  # noqa: PLR2004  (a signature, not a fingerprint or a book)
            f"duplicates.permutations is {given.duplicates.permutations}; it is 16 to 512",
        ),
        (0 < given.leakage.threshold <= 1, f"leakage.threshold is {given.leakage.threshold}; it is in (0, 1]"),
        (
            given.split.parts and all(weight >= 0 for weight in given.split.parts.values()),
            "split.parts needs a side, and no weight below 0",
        ),
        (sum(given.split.parts.values()) > 0, "split.parts add up to 0; give one side a weight"),
        (all(map(_NAME.fullmatch, given.split.parts)), "split.parts: a side's name becomes a file's name"),
        (given.strata.rows > 0, f"strata.rows is {given.strata.rows}; it is at least 1"),
        (
            given.kind != "router_pairs" or len(given.router.tiers) > 1,
            "router.tiers needs at least two tiers, the strongest last",
        ),
        (given.router.least_judge < given.router.most_judge, "router.least_judge is not below router.most_judge"),
    )
    return [message for good, message in checks if not good]
