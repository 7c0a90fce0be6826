"""Running a job to its end: what index, import and retry do, told in events; nothing here prints."""
