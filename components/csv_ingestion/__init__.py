"""From CSV rows to tf.Examples: the first step of the pipeline.

Read in this order: `reader` (bytes to rows, and what is wrong with a row), `examples` (rows
to serialised tf.Examples), `ingest` (a Beam step over byte ranges of files), `executor`,
`component`. `summary` is what the step reports.
"""
