"""Reports for people: one HTML file with the program, the verdict, and pictures of the network."""
