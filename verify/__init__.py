"""Verification: methods that decide whether a program equals a network."""
