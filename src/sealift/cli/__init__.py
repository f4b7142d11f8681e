"""The command line: one thin file a command; main.py maps errors to exit codes once."""
