"""Which provider of the catalogue a call's provider name means: one table, OpenTelemetry names first.

Names are compared in lower case with every separator as `_`. A name that is in neither this table nor the catalogue
has no catalogue price: a price is found, not guessed from a name that merely contains `openai`.
"""

from functools import lru_cache
from typing import Final

CATALOGUE_PROVIDERS: Final[dict[str, str]] = {
    # OpenTelemetry gen_ai.provider.name
    "azure_ai_openai": "azure",
    "azure_ai_inference": "azure",
    "gcp_gemini": "google",
    "gcp_vertex_ai": "google",
    "gcp_gen_ai": "google",
    "aws_bedrock": "aws",
    "x_ai": "x-ai",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    # Plain names and the spellings of older conventions and gateways
    "az_ai_openai": "azure",
    "az_ai_inference": "azure",
    "azure_openai": "azure",
    "azure_ai": "azure",
    "vertex_ai": "google",
    "vertexai": "google",
    "google_vertexai": "google",
    "google_vertex": "google",
    "google_genai": "google",
    "google_generativeai": "google",
    "google_ai_studio": "google",
    "gemini": "google",
    "bedrock": "aws",
    "amazon_bedrock": "aws",
    "bedrock_converse": "aws",
    "xai": "x-ai",
    "mistralai": "mistral",
    "together_ai": "together",
    "togetherai": "together",
    "fireworks_ai": "fireworks",
    "moonshot": "moonshotai",
    "kimi": "moonshotai",
    "deepseek_ai": "deepseek",
    "cohere_chat": "cohere",
    "perplexity_ai": "perplexity",
    "pplx": "perplexity",
    "open_router": "openrouter",
    "voyage": "voyageai",
    "voyage_ai": "voyageai",
    "z_ai": "zai",
    "zhipu": "zhipuai",
    "github_copilot": "github-copilot",
    "github_copilot_chat": "github-copilot",
    "novita_ai": "novita",
    "arcee_ai": "arcee",
    "workers_ai": "cloudflare",
    "eleven_labs": "elevenlabs",
    "text_completion_openai": "openai",
}
"""Provider name, folded → catalogue id. A name that is a catalogue id itself needs no entry."""

SELF_HOSTED_PROVIDERS: Final = frozenset(
    {"vllm", "hosted_vllm", "llama_cpp", "llamacpp", "ollama", "ollama_chat", "sglang", "tgi", "lm_studio", "lmstudio",
     "llamafile", "triton", "self_hosted", "tensorrt_llm", "mlx", "localai", "xinference"}
)  # fmt: skip
"""Engines run by their user: paid by GPU time, so no catalogue price applies."""


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """`Azure.AI-OpenAI` → `azure_ai_openai`."""
    return name.strip().lower().replace(".", "_").replace("-", "_").replace(" ", "_")


def is_self_hosted(provider: str, engine: str | None) -> bool:
    """Whether the call ran on an engine of the user's own."""
    return engine is not None or fold(provider) in SELF_HOSTED_PROVIDERS


def catalogue_name(provider: str) -> str:
    """The catalogue's id of a provider, as far as this table knows it; else the name itself."""
    return CATALOGUE_PROVIDERS.get(fold(provider), provider.strip().lower())
