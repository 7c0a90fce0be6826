"""Measure a job that grows and forgets: search beside what no build covers yet, growing builds, recall over a life."""
