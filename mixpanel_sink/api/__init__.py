"""What is true of Mixpanel's HTTP API, each rule in one place. No Beam."""
