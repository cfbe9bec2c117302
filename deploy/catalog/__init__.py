"""Makes `shared/model_catalog.json` from published price data. Run by people, never by the planes."""
