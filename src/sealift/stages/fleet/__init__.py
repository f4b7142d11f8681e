"""All storage hosts of a shipment in one picture; see look.py for what holds."""
