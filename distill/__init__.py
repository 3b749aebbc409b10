"""A compiler from trained networks to short, readable, proven programs."""
