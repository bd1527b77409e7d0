"""The small optimization problems behind the weights, solved inside the graph.

The largest are TensorFlow functions, traced once per number of tasks whatever step calls them.
"""
