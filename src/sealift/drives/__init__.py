"""The only code that writes to a drive; names on a drive are opened beneath sealift/, a trial's nameless file aside."""
