"""Tools without any domain: log, clock, tasks, files, rate limits, the control socket."""
