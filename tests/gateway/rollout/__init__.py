"""Rollouts, carried out."""
