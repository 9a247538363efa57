"""What a run tells its user: terminal, summary.md, junit.xml, and the records behind them.

Nothing here judges; every report shows the same verdicts, so that no two of them can disagree.
"""
