"""What a run tells its user: terminal, report.html, summary.md, junit.xml, and their records.

Nothing here judges; every report shows the same verdicts, so that no two of them can disagree.
"""
