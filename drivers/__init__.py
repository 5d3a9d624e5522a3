"""Field protocols, a file or a small folder each: it offers one `DRIVER`; a site's `driver` is its name."""

from importlib import import_module
from pkgutil import iter_modules

from gateway.model import ConfigError, Driver


def names() -> list[str]:
    """Every driver there is."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Driver:
    """The driver of that name; only now is its protocol library imported. Raises `ConfigError`."""
    if name not in names():
        raise ConfigError("driver-unknown", driver=name, known=", ".join(names()))
    driver = import_module(f"drivers.{name}").DRIVER
    assert isinstance(driver, Driver)
    return driver
