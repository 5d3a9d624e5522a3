"""The core's own services: commands, the configuration, who is online, what drivers remember, time."""
