"""What the benches share: environments for the peers, the cases that run in them, and reports."""
