"""Quantizing: a merged model becomes AWQ or W8A8, by lmdeploy's lite in lmdeploy's own environment."""
