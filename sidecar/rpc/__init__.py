"""The gRPC server, and a client for the command line: the only importer of grpc.

`server.Server` is the way in, `ports` what it is given. Below it stand `services` (the
methods), `calls` (what passes around each of them) and, per subject, `lookups`,
`ranges`, `digests`, `about` and `readiness`. `errors` alone knows status codes.

Nothing is imported here: the command line uses `client` without the server.
"""
