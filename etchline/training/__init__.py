"""Training: recipes, samples, losses, and runs that can be killed, resumed and repeated.

Recipes need nothing but the base installation; the rest needs the extra `train` (torch, sam2, topolosses).
"""
