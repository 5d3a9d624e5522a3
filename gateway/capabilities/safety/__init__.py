"""Safety: alarms, rules, outputs, escalation, emergency plans, drills, patrols, findings, tests."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="safety",
    site="gateway.capabilities.safety.site",
    jobs="gateway.capabilities.safety.jobs",
    pages="gateway.capabilities.safety.pages",
    order=0,
    commands={
        "alarms": "gateway.capabilities.safety.commands.alarms",
        "rules": "gateway.capabilities.safety.commands.rules",
        "drills": "gateway.capabilities.safety.commands.drills",
        "testlog": "gateway.capabilities.safety.commands.testlog",
        "notify-test": "gateway.capabilities.safety.commands.notify_test",
    },
)
