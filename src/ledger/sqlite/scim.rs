//! What the SCIM server reads and writes.
