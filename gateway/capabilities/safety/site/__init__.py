"""What the site file says of safety."""
