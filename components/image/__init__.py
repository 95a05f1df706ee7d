"""One image: `pixels` between 0 to 255 and 0 to 1, `metrics` of how near two images are."""
