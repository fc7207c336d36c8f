"""Ray: a session, the job's placement on the hardware, its graph, and the loop that drives it."""
