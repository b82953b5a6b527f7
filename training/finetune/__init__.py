"""Fine-tuning: a base model learns to write the label of each row after the very prompt of judging."""
