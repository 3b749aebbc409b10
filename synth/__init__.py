"""Search: statistics, proposers and scores."""
