"""The files of a job: directory, manifest, path list, index builds, altered copies."""
