"""Ground floor: what is stored, what it means, and each store. Imports nothing from the floors above."""
