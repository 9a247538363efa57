"""Running a plan: environments and hosts, the steps, and what fresh processes then observe."""
