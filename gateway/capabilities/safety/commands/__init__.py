"""The command line commands of safety."""
