"""The dispatch table: which dialect reads a reply. Adding a provider is one line here."""

from typing import Final

from tokenledger.normalise import (
    aleph_alpha,
    anthropic,
    assistants,
    audio,
    bedrock,
    bedrock_invoke,
    cohere,
    embeddings,
    gemini,
    gemini_predict,
    images,
    langchain,
    llama_cpp,
    mistral,
    ollama,
    openai_batch,
    openai_chat,
    openai_objects,
    openai_responses,
    openrouter,
    perplexity,
    realtime,
    replicate,
    rerank,
    tgi,
    watsonx,
    writer,
    xai,
)
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange

OF_PROVIDER: Final[dict[str, tuple[Dialect, ...]]] = {
    "anthropic": (anthropic.MESSAGES, anthropic.NO_CALL),
    "gcp.gemini": (gemini_predict.EMBED, gemini.GENERATE, gemini.WRAPPED, gemini_predict.NO_CALL),
    "gcp.vertex_ai": (
        gemini_predict.EMBED,
        gemini.GENERATE,
        gemini.CLAUDE_ON_VERTEX,
        gemini_predict.PREDICT,
        gemini.WRAPPED,
        gemini_predict.NO_CALL,
    ),
    "aws.bedrock": (bedrock_invoke.NO_CALL, bedrock.CONVERSE, bedrock_invoke.INVOKE),
    "cohere": (cohere.NO_CALL, cohere.REPLY),
    "mistral_ai": (mistral.CONVERSATION, mistral.OCR, mistral.CHAT),
    "writer": (writer.COMPLETIONS,),
    "ibm.watsonx.ai": (watsonx.WATSONX, watsonx.NO_CALL),
    "replicate": (replicate.PREDICTION, replicate.NO_CALL),
}
"""Dialects only one provider speaks, tried first: provider → dialects."""

_CHATS: Final = (openai_chat.PLAIN_CHAT, openrouter.CHAT, xai.CHAT, perplexity.CHAT, openai_chat.CHAT)

OF_OBJECT: Final[dict[str, tuple[Dialect, ...]]] = {
    "chat.completion": _CHATS,
    "chat.completion.chunk": _CHATS,
    "response": (openai_responses.RESPONSES,),
}
"""What a reply of the OpenAI family calls itself, tried next: `object` → dialects."""

SHAPES: Final[tuple[Dialect, ...]] = (
    anthropic.MESSAGES,
    langchain.MESSAGE,
    gemini.GENERATE,
    bedrock.CONVERSE,
    cohere.REPLY,
    rerank.REPLY,
    mistral.OCR,
    assistants.RUNS,
    realtime.REALTIME,
    openai_batch.BATCH,
    openai_responses.RESPONSES,
    audio.AUDIO,
    embeddings.EMBEDDINGS,
    openai_chat.COMPLETIONS,
    *_CHATS,
    ollama.OLLAMA,
    watsonx.WATSONX,
    tgi.TGI,
    aleph_alpha.ALEPH_ALPHA,
    llama_cpp.COMPLETION,
    images.IMAGES,
    openai_objects.OTHER_OBJECTS,
)
"""Shapes that are known by themselves, the most telling first; any provider may speak them."""


def dialect_of_body(body: Body, exchange: Exchange) -> Dialect | None:
    """The first dialect of the provider, else of the object's name, else of all, whose shape the reply has."""
    for dialect in OF_PROVIDER.get(exchange.provider, ()):
        if dialect.fits(body, exchange):
            return dialect
    kind = body.get("object")
    for dialect in OF_OBJECT.get(kind, ()) if kind.__class__ is str else ():
        if dialect.fits(body, exchange):
            return dialect
    for dialect in SHAPES:
        if dialect.fits(body, exchange):
            return dialect
    return None


def dialect_of_stream(events: list[Event], exchange: Exchange) -> Dialect | None:
    """The dialect of the first event that has a known shape; an object that is no call may begin one's stream."""
    refusal = None
    for event in events:
        if event.data.__class__ is dict and (found := dialect_of_body(event.data, exchange)):
            if found is not openai_objects.OTHER_OBJECTS:
                return found
            refusal = found
    return refusal
