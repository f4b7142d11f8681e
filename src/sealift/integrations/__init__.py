"""What other programs read a shipment through: fsspec, FUSE. Each is an optional extra, thin over `Shipment`."""
