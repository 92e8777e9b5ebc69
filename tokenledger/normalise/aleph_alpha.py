"""Aleph Alpha completions: token counts on the reply itself."""

from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.openai_chat import fold
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading, count, text

_COUNTS = ("num_tokens_prompt_total", "num_tokens_generated")


def fits(body: Body, _exchange: Exchange) -> bool:
    """A count of prompt tokens under Aleph Alpha's name."""
    return "num_tokens_prompt_total" in body


def read(body: Body, _exchange: Exchange) -> Reading:
    """A completion → its Reading. The model is named by the request; the reply has only its version."""
    reading = Reading(usage_reading="aleph_alpha", api="completions", response_model=text(body, "model"))
    reading.raw_usage = {name: body[name] for name in _COUNTS if name in body}
    prompt, answer = (count(body, name, "") for name in _COUNTS)
    if prompt is not None:
        carve_input(reading, prompt)
    if answer is not None:
        carve_output(reading, answer)
    return reading


ALEPH_ALPHA = Dialect("aleph_alpha", fits, read, fold)
