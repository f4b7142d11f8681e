"""Shipped helpers for tests of sealift and of what is built on it."""
