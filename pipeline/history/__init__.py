"""The past runs: `lineage` reads ML Metadata, `status` lists runs, models and pushes, `summary` is
the outcome of one run for machines, `reports` publishes its report.
"""
