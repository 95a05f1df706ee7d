"""Recipes beside each other: what they reach, and after how many seconds."""
