"""The provider registry: canonical names, accepted spellings, hosts, and whether response ids are unique."""

from typing import Final
from urllib.parse import urlsplit

import msgspec


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as OpenTelemetry's `gen_ai.provider.name` spells it; plain lower case where OTel has no name."""

    name: str
    """Canonical name."""
    aliases: tuple[str, ...] = ()
    """Older OTel, LiteLLM and genai-prices spellings, lower case."""
    hosts: tuple[str, ...] = ()
    """Ends of API host names."""
    unique_ids: bool = True
    """Whether response ids are unique for one tenant for good."""
    self_hosted: bool = False
    """Paid by GPU time, not per token."""


PROVIDERS: Final = (
    Provider(name="openai", aliases=("open_ai", "text-completion-openai"), hosts=("api.openai.com",)),
    Provider(
        name="azure.ai.openai",
        aliases=("azure", "az.ai.openai", "azure_openai", "azure-openai"),
        hosts=("openai.azure.com", "cognitiveservices.azure.com"),
    ),
    Provider(
        name="azure.ai.inference",
        aliases=("az.ai.inference", "azure_ai"),
        hosts=("models.ai.azure.com", "services.ai.azure.com"),
    ),
    Provider(name="anthropic", hosts=("api.anthropic.com",)),
    Provider(
        name="gcp.gemini",
        aliases=("gemini", "google-gemini", "google", "gcp.gen_ai", "google_genai"),
        hosts=("generativelanguage.googleapis.com",),
    ),
    Provider(
        name="gcp.vertex_ai",
        aliases=("vertex_ai", "google-vertex", "vertexai", "vertex", "google_vertexai"),
        hosts=("aiplatform.googleapis.com",),
    ),
    Provider(
        name="aws.bedrock",
        aliases=("bedrock", "aws-bedrock", "aws_bedrock", "bedrock_converse", "aws"),
        hosts=("amazonaws.com",),
    ),
    Provider(name="cohere", aliases=("cohere_chat",), hosts=("api.cohere.ai", "api.cohere.com")),
    Provider(name="mistral_ai", aliases=("mistral", "mistralai"), hosts=("api.mistral.ai",)),
    Provider(name="x_ai", aliases=("xai", "x-ai"), hosts=("api.x.ai",)),
    Provider(name="deepseek", hosts=("api.deepseek.com",)),
    Provider(name="groq", hosts=("api.groq.com",)),
    Provider(name="openrouter", hosts=("openrouter.ai",)),
    Provider(name="perplexity", hosts=("api.perplexity.ai",)),
    Provider(name="together_ai", aliases=("together", "togetherai"), hosts=("api.together.xyz", "api.together.ai")),
    Provider(name="fireworks_ai", aliases=("fireworks",), hosts=("api.fireworks.ai",)),
    Provider(name="huggingface", aliases=("hugging_face", "hf"), hosts=("huggingface.co", "huggingface.cloud")),
    Provider(name="cerebras", hosts=("api.cerebras.ai",)),
    Provider(name="voyage_ai", aliases=("voyageai", "voyage"), hosts=("api.voyageai.com",)),
    Provider(name="ibm.watsonx.ai", aliases=("watsonx", "ibm", "watsonx.ai"), hosts=("ml.cloud.ibm.com",)),
    Provider(name="writer", hosts=("api.writer.com",)),
    Provider(name="snowflake", hosts=("snowflakecomputing.com",)),
    Provider(name="z_ai", aliases=("zai", "z-ai", "zhipu", "zhipuai"), hosts=("api.z.ai", "open.bigmodel.cn")),
    Provider(name="moonshot_ai", aliases=("moonshot", "moonshotai"), hosts=("api.moonshot.ai", "api.moonshot.cn")),
    Provider(name="ai21", hosts=("api.ai21.com",)),
    Provider(
        name="aleph_alpha", aliases=("aleph-alpha", "alephalpha"), hosts=("api.aleph-alpha.com",), unique_ids=False
    ),
    Provider(name="replicate", hosts=("api.replicate.com", "replicate.net")),
    Provider(name="vllm", aliases=("hosted_vllm",), self_hosted=True),
    Provider(name="llama.cpp", aliases=("llamacpp", "llama_cpp", "llama-cpp"), self_hosted=True, unique_ids=False),
    # Ollama's OpenAI-shaped ids are small random numbers ("chatcmpl-527"), and its native replies have none.
    Provider(name="ollama", aliases=("ollama_chat",), hosts=("ollama.com",), self_hosted=True, unique_ids=False),
    Provider(name="sglang", self_hosted=True),
    Provider(name="tensorrt_llm", aliases=("trtllm",), self_hosted=True),
)

_BY_NAME: Final = {spelling: provider for provider in PROVIDERS for spelling in (provider.name, *provider.aliases)}


def find_provider(name: str | None) -> Provider | None:
    """The provider under any accepted spelling."""
    if not name:
        return None
    return _BY_NAME.get(name) or _BY_NAME.get(name.strip().lower())


def provider_of_url(url: str) -> Provider | None:
    """The provider whose API host the URL names."""
    host = (urlsplit(url).hostname or "").lower()
    for provider in PROVIDERS:
        for known in provider.hosts:
            if host == known or host.endswith(("." + known, "-" + known)):
                return provider
    return None
