"""The cache: keys, rules, guards, the learner, the store, and all of it together."""
