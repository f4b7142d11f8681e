"""sealift carries a training corpus to a rented GPU cluster on physical drives.

Nothing is imported here: `sealift --help` starts in a fraction of a second, and a reader of one format
does not load the others.
"""

__version__ = "0.1.0"
