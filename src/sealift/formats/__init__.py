"""Bytes to records and back; pure: no paths, no clock, no network."""
