"""From images to class scores at any sparsity, and how often they are right."""
