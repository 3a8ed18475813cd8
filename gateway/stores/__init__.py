"""Where live changes are kept: small protocols and what implements them."""
