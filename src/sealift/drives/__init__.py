"""The only code that writes to a drive; every name on a drive is opened beneath sealift/."""
