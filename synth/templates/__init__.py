"""Classifiers of vectors and images that look along one direction: `lo < dot(x, TEMPLATE) < hi`."""
