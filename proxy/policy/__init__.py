"""How a replica is chosen: pure functions from a request and a frozen view of the fleet to a placement that explains itself."""
