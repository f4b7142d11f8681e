"""The declaration and what hangs on it: its release by a second person, and the signatures under both."""
