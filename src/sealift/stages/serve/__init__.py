"""Serve the drives of this host over HTTP, read-only, ciphertext only; see run.py for what holds."""
