//! Domain names, the challenge that proves one, and the look that finds it. Knows no Kubernetes.

mod answer;
mod challenge;
mod claimable;
mod examiner;
mod lookup;
mod name;

pub use answer::{Answer, Examination, Step};
pub use challenge::{record_name, record_value};
pub use claimable::{Claimable, NotClaimable};
pub use examiner::{Examiner, Look, Settings};
pub use name::{DomainName, NotADomain};
