"""What the engine costs beside its peers: ratios within one run, never a test that can fail."""
