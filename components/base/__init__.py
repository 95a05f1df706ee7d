"""The ground floor: what every step may use and what uses none of them.

`errors`, `progress`, `settings`, `files` (written whole), `records` (TFRecords), `object_store`,
`in_order` (work in threads, results in order).
"""
