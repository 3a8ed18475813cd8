"""The customer support task: a shop, its policy, a generator, a gold set and a holdout. See README.md."""
