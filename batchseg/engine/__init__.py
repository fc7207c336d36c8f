"""Ray: a session, the placement on the hardware, the graph, and what drives it. Takes plain values."""
