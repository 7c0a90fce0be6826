"""Processes: how one starts, speaks, is stopped and ends, and how busy and large it is."""
