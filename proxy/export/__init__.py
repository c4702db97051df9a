"""What leaves the proxy about itself: Prometheus metrics and the one log line of each call."""
