"""What strangers send: generated from the OpenAPI document, and made by hand."""
