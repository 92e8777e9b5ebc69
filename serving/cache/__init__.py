"""Answers that need no model: the same request again, a written answer, a question asked before in other words."""
