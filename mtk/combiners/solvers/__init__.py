"""The small optimization problems behind the weights, solved inside the graph."""
