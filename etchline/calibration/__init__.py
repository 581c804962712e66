"""What is measured on validation images before networks are used: limits, policy, confidence, scale.

Nothing here looks at images of the splits test and unseen.
"""
