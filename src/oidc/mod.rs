//! OpenID Connect, as far as it needs neither a network nor Kubernetes.

pub mod discovery;
