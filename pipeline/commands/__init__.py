"""What the commands of `denoise` do."""
