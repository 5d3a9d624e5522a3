"""What residents ask for: registered, followed up, and erased in time."""
