"""The gRPC door: ``kafkahub.v1``, with health and reflection beside it."""
