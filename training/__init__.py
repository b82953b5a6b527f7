"""Training sets and the jobs that turn them into better judges."""
