"""The REST API under `/v1`: who may call, what they may ask, and how it is answered. One module per resource."""
