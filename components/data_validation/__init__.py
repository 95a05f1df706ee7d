"""Data validation: what the data must look like, and the gate that stops a run where it does not.

`schema` makes, reads and writes the schema, `anomaly_gate` stops on anomalies, skew and drift.
"""
