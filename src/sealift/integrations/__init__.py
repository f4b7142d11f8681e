"""What other programs read a shipment through: fsspec, FUSE, PyTorch; optional extras, thin over `Shipment`."""
