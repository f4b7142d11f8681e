"""Reading a shipment where it stands: verified bytes, rebuilt from parity where needed."""
