"""The commands of `denoise`, one file each; options.py and session.py are what they share.

`denoise --help` imports all of them, so they import what they need when they are called.
"""
