"""What every program of ours stands on, whatever its domain: log, clock, tasks, the control socket."""
