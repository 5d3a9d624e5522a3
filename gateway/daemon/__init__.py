"""The running gateway: the engine, the composition of its parts, reload, metrics."""
