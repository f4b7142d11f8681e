"""Doors for other people's programs: optional, thin over reading."""
