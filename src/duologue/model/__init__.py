"""Language models, and what is added to them so that they hear and speak."""
