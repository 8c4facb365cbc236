"""First floor: what lives inside the user's process. Imports from `holter.backends` only."""
