"""What the rules of the house look at: the tree, its statements, its pages."""
