"""Objects of OpenAI-like APIs that are readable but describe no model call; refused, with the reason said plainly."""

from typing import Final

from tokenledger.normalise.openai_chat import fold
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Exchange, Reading
from tokenledger.records.reasons import Reason

_WHAT: Final = {
    "list": "a list of stored objects",
    "assistant": "an assistant's definition",
    "thread": "a thread",
    "thread.message": "a message of a thread",
    "file": "an uploaded file",
    "upload": "an upload",
    "model": "a model's description",
    "batch": "a batch job; each line of its output file is a call",
    "fine_tuning.job": "a fine-tuning job",
    "vector_store": "a vector store",
    "vector_store.file": "a file of a vector store",
    "vector_store.search_results.page": "a page of search results",
    "conversation": "a conversation",
    "container": "a container",
    "response.input_tokens": "a token count without a response",
    "response.compaction": "a compaction without usage",
    "eval": "an evaluation's definition",
    "realtime.session": "a realtime session's settings",
}


def fits(body: Body, _exchange: Exchange) -> bool:
    """An object of the list above, a deletion, or a moderation."""
    kind = body.get("object")
    return (kind.__class__ is str and (kind in _WHAT or kind.endswith(".deleted"))) or _is_moderation(body)


def read(body: Body, _exchange: Exchange) -> Reading:
    """Never a Reading: raises BadRecordError that says what the object is."""
    kind = body.get("object")
    if _is_moderation(body):
        what = "a moderation, which is free of charge and reports no usage"
    else:
        what = _WHAT.get(str(kind)) or f"a {kind!r:.40} object"
    detail = f"this is {what}; the reply of a model call would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response.object", detail)


def _is_moderation(body: Body) -> bool:
    rows = body.get("results")
    return rows.__class__ is list and bool(rows) and rows[0].__class__ is dict and "flagged" in rows[0]


OTHER_OBJECTS = Dialect("openai.objects", fits, read, fold)
