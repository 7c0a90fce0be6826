"""What changes a job after it was made, one change at a time; nothing here prints."""
