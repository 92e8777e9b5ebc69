"""A fleet of model servers that speaks OpenAI's wire format, answers at stated speed and fails on demand."""
