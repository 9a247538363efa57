"""From trials to a verdict: how often, how sure, and what that means for the scenario."""
