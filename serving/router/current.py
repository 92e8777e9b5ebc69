"""The policy and the model that serve now, read again when their files change. An edge: it reads files.

What cannot be read never replaces what could: the old policy and the old model go on, and the reason is told.
"""

from collections.abc import Callable
from pathlib import Path

from serving.router import versions
from serving.router.model import Model
from serving.router.policy import Policy, PolicyError, policy


class Current:
    """What serves. `refresh` is called now and then, off the hot path: loading a model takes some 100 ms."""

    def __init__(self, policy_file: Path, models: Path) -> None:
        """Raises PolicyError or OSError if there is no policy to begin with; a model may come later."""
        self._policy_file = policy_file
        self._models = models
        self._text = policy_file.read_text(encoding="utf-8")
        self.policy: Policy = policy(self._text)
        self.model: Model | None = None
        self.misfit: Callable[[Policy], str | None] = _fits
        """What a new policy lacks of what those who use it need; such a one is not taken."""

    def refresh(self) -> list[str]:
        """Takes over what has changed; every line says what could not be taken over, and why."""
        return [*self._refresh_policy(), *self._refresh_model()]

    def _refresh_policy(self) -> list[str]:
        try:
            text = self._policy_file.read_text(encoding="utf-8")
            if text != self._text:
                read = policy(text)
                if lacking := self.misfit(read):
                    return [f"the router's policy stays as it was: {lacking}"]
                self.policy, self._text = read, text
        except (PolicyError, OSError, UnicodeDecodeError) as error:
            return [f"the router's policy stays as it was: {error}"]
        return []

    def _refresh_model(self) -> list[str]:
        try:
            version = versions.promoted(self._models)
            if version and (self.model is None or self.model.version != version):
                self.model = versions.load(self._models, version)
        except (versions.VersionError, OSError, UnicodeDecodeError) as error:
            return [f"the router's model stays as it was: {error}"]
        return []


def _fits(_policy: Policy) -> str | None:
    return None
