"""Files in which the steps that validate leave what they found.

<statistics>/Split-NAME/FeatureStats.pb    DatasetFeatureStatisticsList of one dataset
<anomalies>/Split-NAME/SchemaDiff.pb       Anomalies
<drift>/WHAT_WITH_WHAT/drift.pbtxt         Anomalies, as text
"""

STATISTICS_FILE = "FeatureStats.pb"
ANOMALIES_FILE = "SchemaDiff.pb"
DRIFT_FILE = "drift.pbtxt"
