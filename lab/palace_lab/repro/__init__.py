"""What is done to a plan that failed, so that it can be understood and sent away."""
