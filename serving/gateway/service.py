"""What one gateway process holds, and how a new configuration takes the place of the old one while calls go on."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ledger.observing import logger
from serving.gateway import metrics
from serving.gateway.breaker import RetryBudget
from serving.gateway.caching import Seat
from serving.gateway.capturing import Capturing
from serving.gateway.choosing import Choice, Features, in_order
from serving.gateway.configuration import Configuration, ConfigurationError, configuration_of
from serving.gateway.deadlines import Deadlines
from serving.gateway.fleet import Fleet
from serving.gateway.health import Model, Unknown
from serving.gateway.meaning import Embed
from serving.gateway.records import Accounting, Admission
from serving.gateway.routing import Router

log = logger("serving.gateway.configuration")


def load(path: Path) -> Configuration:
    """The configuration in a file. Raises ConfigurationError."""
    try:
        return configuration_of(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(error)) from None


class Gateway:
    """Everything a call needs of the process it runs in."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        accounting: Accounting,
        admission: Admission,
        ready: Callable[[], bool],
        features: Features | None = None,
        choose: Choice = in_order,
    ) -> None:
        self.accounting = accounting
        self.admission = admission
        self.features: Features = features or Unknown()
        self.choose: Choice = choose
        self.embed: Embed | None = None
        """Makes vectors of answers, where some route compares them by meaning."""
        self.caching: Seat | None = None
        """The cache, where some route has one."""
        self.capturing: Capturing | None = None
        """Where texts are kept, where the configuration says so."""
        self.texts_folder: Path | None = None
        """Where they would be kept."""
        self.deadlines = Deadlines()
        self.fleet = Fleet(configuration, self.deadlines)
        self.router = Router(configuration.router, configuration) if configuration.router is not None else None
        self.retries = RetryBudget(configuration.retries)
        self.stopping = False
        """Whether the process is about to end."""
        self._ready = ready
        metrics.CONFIG_LOADED.set(time.time())

    @property
    def configuration(self) -> Configuration:
        """The configuration at work."""
        return self.fleet.configuration

    def not_ready(self) -> str | None:
        """Why no call should come here now."""
        if self.stopping:
            return "stopping"
        if not self._ready():
            return "accounting or keys are not ready"
        return None

    def router_models(self) -> Iterable[Model]:
        """Models the router asks about."""
        return self.router.models() if self.router is not None else ()

    def adopt(self, configuration: Configuration) -> None:
        """From now on, calls follow this one; those under way keep theirs. Raises ConfigurationError."""
        fleet, before = Fleet(configuration, self.deadlines, before=self.fleet), self.fleet
        self.router = self._router(configuration)
        if configuration.retries != before.configuration.retries:
            self.retries = RetryBudget(configuration.retries)
        self.fleet = fleet
        if self.caching is not None:
            self.caching.adopt(configuration)
        self.capture()
        before.close(but=fleet)
        metrics.CONFIG_LOADED.set(time.time())

    def capture(self) -> None:
        """Keep texts as the configuration at work says, or no longer."""
        settings = self.configuration.capture
        if settings is None or self.texts_folder is None:
            self.stop_capturing()
        elif self.capturing is None:
            self.capturing = Capturing(self.texts_folder, settings)
        else:
            self.capturing.adopt(settings)

    def stop_capturing(self) -> None:
        """Keep nobody's texts."""
        if self.capturing is not None:
            self.capturing.close()
            self.capturing = None

    def _router(self, configuration: Configuration) -> Router | None:
        """The router for a new configuration; one whose files are the same keeps what it has read."""
        if configuration.router is None:
            return None
        if self.router is None or self.router.files != configuration.router:
            return Router(configuration.router, configuration)
        self.router.serve(configuration)
        return self.router


class Source:
    """The configuration's file and the key files it names, watched."""

    def __init__(self, path: Path, gateway: Gateway) -> None:
        self._path = path
        self._gateway = gateway
        self._stamp = self._look()

    def check(self, *, anyway: bool = False) -> None:
        """Take over what has changed; what is wrong changes nothing and is told."""
        stamp = self._look()
        if anyway or stamp != self._stamp:
            self._stamp = stamp
            self._try(lambda: self._gateway.adopt(load(self._path)), "configuration")
        for deployment in self._gateway.fleet.deployments.values():
            if deployment.key_changed():
                self._try(deployment.read_key, f"key of {deployment.name}")

    def _try(self, take: Callable[[], None], what: str) -> None:
        try:
            take()
        except ConfigurationError as error:
            metrics.RELOADS.labels("refused").inc()
            log.warning("%s not taken, the old one stays", what, extra={"facts": {"error": str(error)}})
        else:
            metrics.RELOADS.labels("taken").inc()
            log.info("%s taken", what, extra={"facts": {"file": str(self._path)}})

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
