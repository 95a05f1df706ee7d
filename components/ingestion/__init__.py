"""Which ingestion a data folder needs: CSVs, images or pairs, and what all of them share."""
