"""What trials leave behind: their frozen records, the ledger, who hears of them."""
