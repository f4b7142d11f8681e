"""Planning a voyage: geometry, odds, time, alternatives, and the numbers behind them.

Pure but for calibrate.py, which measures this machine: no files, clock, devices or printing elsewhere here.
"""
