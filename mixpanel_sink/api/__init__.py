"""What is true of Mixpanel's HTTP API: hosts, endpoints, limits, ids, requests, responses. No Beam."""
