"""A detector on the network: a page, and answers in the COCO results form.

Nothing here but `batching` can be imported without the extra ``serve`` of pyproject.toml.
"""
