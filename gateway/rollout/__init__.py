"""Carries out rollouts: `router_policies.rollout` decides, this reads what it looks at and does what it says."""
