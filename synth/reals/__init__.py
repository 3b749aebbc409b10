"""Programs on real inputs: decision trees with linear tests, lattices, pieces and formulas."""
