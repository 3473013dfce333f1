"""The ledger: one durable record for each paid generation."""
