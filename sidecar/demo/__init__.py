"""What `sidecar demo` runs beside a sidecar: a broker without a JVM, and data that moves."""
