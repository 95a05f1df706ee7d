"""Calls: request to arrays to answer."""
