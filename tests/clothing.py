"""The package's generator of images, where tests look for it."""

from pipeline.clothing import CLASSES, images, write_csv, write_csvs

__all__ = ["CLASSES", "images", "write_csv", "write_csvs"]
