"""Synthetic SEM images of chips, with the printed shape as their truth.

A layout is routed (`routing`) or taken from a file (`etchline.layouts`), printed with rounded corners and
rough edges, and imaged (`render`) with the material and the microscope of a chip family (`families`).
`benchmark` draws whole datasets.
"""
