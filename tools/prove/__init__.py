"""Runs the project's correctness claims against real components and prints claim, figure, limit and verdict."""
