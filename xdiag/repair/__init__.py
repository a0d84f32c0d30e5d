"""Repairs: what makes one runtime out of two, and a handle whole again."""
