"""Proofs about recurrent networks: products of a program's states with regions of hidden space."""
