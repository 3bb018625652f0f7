"""How far to trust the scores: `intervals`, `recall`, `auc`, `purity`, `config`, `sealed` (the ledger), `report`."""
