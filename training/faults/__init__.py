"""Learning to see faults: faults put into clean prose, and the pretraining on them (docs/FAULTS.md)."""
