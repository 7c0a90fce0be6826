"""Photographs and what is made of them: who is altered, how, and what is asked for."""
