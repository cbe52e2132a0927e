"""The commit log: proposals go in, an order and verdicts come out."""
