"""Safety: alarms, rules, outputs, escalation, emergency plans, drills, patrols, findings, tests."""
