"""Field protocols: each is a file or a small folder with one `DRIVER`. Its name is the `driver` in a site
file."""

from importlib import import_module
from pkgutil import iter_modules

from gateway.model import ConfigError, Driver


def driver_names() -> list[str]:
    """The names of all drivers."""
    return sorted(module.name for module in iter_modules(__path__))


def load_driver(name: str) -> Driver:
    """Load a driver by name, which imports its protocol library. Raises `ConfigError`."""
    if name not in driver_names():
        raise ConfigError("driver-unknown", driver=name, known=", ".join(driver_names()))
    driver = import_module(f"drivers.{name}").DRIVER
    assert isinstance(driver, Driver)
    return driver
