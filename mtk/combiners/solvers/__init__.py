"""The small optimization problems behind the weights, solved inside the graph.

The largest are functions of TensorFlow: traced once for a number of tasks, in whatever step.
"""
