"""Planning a voyage: geometry, odds, and the numbers behind them. Pure: no files, clock, devices or printing here."""
