"""The links of the chain from labelled images to a service: each one function, with files in and files out.

Pipelines call these through thin components; nothing here knows what runs them. What each link has done
stands in the run's folder (`recording`), from which the report is made.
"""
