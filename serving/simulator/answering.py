"""What a tier answers: text, tool calls, right and wrong, all from hashes of prompt and tier. Pure.

The same prompt gets the same answer from the same tier in every run. Tiers agree mostly where they are right: whether
an answer is right follows the prompt's own difficulty for a stated share of prompts, and a wrong one differs by tier.
"""

import hashlib
import math
import random
import re
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import msgspec

from serving.simulator.asking import Chat, tokens_of
from serving.simulator.config import Tier
from serving.simulator.wire import Counts

_CACHED_FROM_TOKENS = 1_024
_CACHED_PREFIX_BYTES = 4 * _CACHED_FROM_TOKENS
_LONGEST_ANSWER_TOKENS = 16_384
_ARITHMETIC = re.compile(r"(-?\d{1,9})\s*([-+*×])\s*(-?\d{1,9})")
_WORDS = re.findall(
    r"\w+",
    "the of a in and to is for that it as was with be by on not are this from at or have an they which one you all "
    "there been their has would what will if can when so no said who more about up them some could him into its then "
    "two out time like only other new after most these now over any your than made well must through years where much",
)


class Label(msgspec.Struct, frozen=True):
    """A prompt whose answer is known."""

    prompt: str
    """The question."""
    answer: str
    """The right answer."""
    wrong: tuple[str, ...] = ()
    """Wrong ones; without them, one is made up."""
    difficulty: float | None = None
    """0 is easy, 1 is hard: how far a tier falls from its `accuracy` to its `accuracy_hardest`."""
    right: dict[str, bool] = {}
    """Tier → whether it is right, where that is known; else the tier's accuracy decides."""
    same_as: str = ""
    """Another wording of the same question: whoever gets one right gets both right."""
    terse: bool = False
    """Whether the answer is said and nothing else."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice."""

    tokens: tuple[str, ...]
    """Its text, or the arguments of its tool call, in the pieces it is streamed in."""
    finish_reason: str
    """`stop`, `length` or `tool_calls`."""
    tool_name: str | None = None
    """The function it calls."""
    correct: bool | None = None
    """Whether it is right; None where nobody knows."""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.tokens)


def share(*parts: object) -> float:
    """A number in [0, 1) that looks random and is always the same for the same parts."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


def answers(chat: Chat, tier: Tier, *, labels: Mapping[str, Label]) -> list[Answer]:
    """One answer a choice."""
    return [_answer(chat, tier, labels=labels, index=index) for index in range(chat.n or 1)]


def counts(chat: Chat, tier: Tier, *, given: list[Answer], seen_before: bool) -> Counts:
    """The tokens of a request; `seen_before` says that its beginning is in the prompt cache."""
    prompt_tokens = tokens_of(chat)
    cached = tier.prompt_cache and seen_before and prompt_tokens >= _CACHED_FROM_TOKENS
    visible = sum(len(answer.tokens) for answer in given)
    reasoning = round(visible * tier.reasoning_ratio)
    return Counts(
        prompt_tokens=prompt_tokens,
        cached_tokens=_CACHED_FROM_TOKENS if cached else 0,
        completion_tokens=visible + reasoning,
        reasoning_tokens=reasoning,
    )


def cache_key(chat: Chat) -> bytes | None:
    """What the prompt cache knows a long prompt by; None for one that is too short."""
    start = chat.prompt.encode("utf-8", "surrogatepass")[:_CACHED_PREFIX_BYTES]
    return hashlib.blake2b(start, digest_size=16).digest() if len(start) == _CACHED_PREFIX_BYTES else None


def vector(text: str, dimensions: int) -> list[float]:
    """A unit vector, the same for the same text."""
    source = random.Random(text)  # noqa: S311 - a made-up vector, no secret
    numbers = [source.gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def prompts(count: int, *, seed: int) -> list[Label]:
    """Arithmetic prompts with their answers, the harder the larger their numbers."""
    source = random.Random(seed)  # noqa: S311 - prompts, no secrets
    made = []
    for _ in range(count):
        left, sign, right = source.randint(2, 999), source.choice("+-*"), source.randint(2, 999)
        made.append(Label(f"What is {left} {sign} {right}?", _computed(sign, left=left, right=right)))
    return made


def known(question: str, labels: Mapping[str, Label]) -> Label | None:
    """The label of a question: from the file, else computed where it is arithmetic."""
    if (label := labels.get(question)) is not None:
        return label
    if (found := _ARITHMETIC.search(question)) is None:
        return None
    left, sign, right = found.groups()
    return Label(question, _computed(sign, left=int(left), right=int(right)))


def is_right(question: str, tier: Tier, *, label: Label | None = None) -> bool:
    """Whether the tier gets it right; over many prompts in a share of `accuracy`, less where the label says harder."""
    if label is None:
        label = Label(question, "")
    if (stated := label.right.get(tier.name)) is not None:
        return stated
    about = label.same_as or question
    accuracy = tier.accuracy
    if label.difficulty is not None and tier.accuracy_hardest is not None:
        accuracy += (tier.accuracy_hardest - accuracy) * _felt(_felt(label.difficulty))
    same_for_all = share("kind", tier.name, about) < tier.shared_difficulty
    return (share("difficulty", about) if same_for_all else share("luck", tier.name, about)) < accuracy


def _felt(difficulty: float) -> float:
    """The same between 0 and 1, but nearer to the ends: a model mostly knows, or mostly does not."""
    return difficulty * difficulty * (3 - 2 * difficulty)


def _answer(chat: Chat, tier: Tier, *, labels: Mapping[str, Label], index: int) -> Answer:
    question = chat.question
    if (tool := chat.tool) is not None:
        arguments = msgspec.json.encode(example(tool.parameters, question)).decode()
        return Answer(tokens=_pieces(arguments), finish_reason="tool_calls", tool_name=tool.name)
    label = known(question, labels)
    correct = None if label is None else is_right(question, tier, label=label)
    said = "" if label is None else label.answer if correct else _wrong(label, tier)
    text = said if label is not None and label.terse else _written(chat, tier, said=said, index=index)
    for stop in chat.stops:
        text = text.partition(stop)[0] if stop else text
    pieces = _pieces(text)
    limit = chat.limit_tokens
    cut = limit is not None and len(pieces) > limit
    return Answer(tokens=pieces[:limit], finish_reason="length" if cut else "stop", correct=correct)


def _written(chat: Chat, tier: Tier, *, said: str, index: int) -> str:
    """The answer first, then words up to the length this prompt's answer has."""
    form = (chat.response_format or {}).get("type", "text")
    if form == "json_schema":
        schema = (chat.response_format or {}).get("json_schema", {}).get("schema", {})
        return msgspec.json.encode(example(schema, said)).decode()
    if form == "json_object":
        return msgspec.json.encode({"answer": said}).decode()
    words = _words(chat.question, tier, index=index)
    return f"Answer: {said}. {words}" if said else words.capitalize()


def _words(question: str, tier: Tier, *, index: int) -> str:
    uniform = min(max(share("length", tier.name, question, index), 1e-9), 1 - 1e-9)
    length = tier.output_tokens_p50 * math.exp(tier.output_tokens_sigma * NormalDist().inv_cdf(uniform))
    source = random.Random(f"{tier.name}\x1f{question}\x1f{index}")  # noqa: S311 - filler words, no secret
    return " ".join(source.choices(_WORDS, k=max(1, min(round(length), _LONGEST_ANSWER_TOKENS))))


def _pieces(text: str) -> tuple[str, ...]:
    """A word a token, with the space before it."""
    return tuple(re.findall(r"\s*\S+", text))


def _wrong(label: Label, tier: Tier) -> str:
    """A wrong answer, this tier's own."""
    draw = share("wrong", tier.name, label.same_as or label.prompt)
    if label.wrong:
        return label.wrong[int(draw * len(label.wrong))]
    try:
        return str(int(label.answer) + 1 + int(draw * 97))
    except ValueError:
        return f"not {label.answer}"


def _computed(sign: str, *, left: int, right: int) -> str:
    return str({"+": left + right, "-": left - right}.get(sign, left * right))


def example(schema: Mapping[str, Any], text: str) -> Any:
    """A value that a JSON schema allows; strings are the given text."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object" | None:
            return {name: example(part, text) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [example(schema.get("items", {}), text)]
        case "string":
            return text
        case kind:
            return {"integer": 1, "number": 1, "boolean": True}.get(kind)
