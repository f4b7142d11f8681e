"""What the commands do: pack, inspect, verify, unpack, seal, rehearse. No printing here."""
