"""Findings of a label audit, their files, and their summary on the terminal."""
