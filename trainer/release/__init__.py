"""A run's result made ready for others: merged, checked, described, and in the form other programs read."""
