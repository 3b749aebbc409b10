"""Labels of a few finite variables: tests such as `a**3 < 5*b**2`, residues, and short rules."""
