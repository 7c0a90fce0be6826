"""Processes: how they start, exchange messages, are stopped and end, and how busy and large they are."""
