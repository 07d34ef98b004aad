//! Domain names, the challenge that proves one, and the look-up that finds it. Knows no Kubernetes.

mod challenge;
mod lookup;
mod name;

pub use challenge::{record_name, record_value};
pub use lookup::{Answer, Failure, Resolver};
pub use name::{DomainName, NotADomain};
