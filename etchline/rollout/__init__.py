"""Bringing bundles into service: here on one machine; on a cluster where there is one."""
