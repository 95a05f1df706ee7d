"""From image files to tf.Examples: the first step of the pipeline where the data are no CSVs.

Read in this order: `folder` (which files there are, and their labels), `patches` (where a file
is cut), `cut` (a Beam step over groups of files), `executor`, `component`. The Examples and the
summary are those of `components.csv_ingestion`.
"""
