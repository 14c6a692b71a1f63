"""What every room shares: errors, settings, seeds, digests, atomic artifacts."""
