//! Domain names, the challenge that proves one, and the look that finds it. Knows no Kubernetes.
//!
//! A look (`examiner`) asks a zone's own servers (`walk`) or recursive resolvers (`source`), one
//! question at a time (`wire`) and only so many a second (`pace`), distrusts what they say (`reply`,
//! `dnssec`), weighs it (`judge`), and puts it into words (`explain`).

mod answer;
mod challenge;
mod claimable;
mod dnssec;
mod examiner;
mod explain;
mod judge;
mod name;
mod pace;
mod reply;
mod source;
mod trip;
mod walk;
mod wire;

pub use answer::{Answer, Examination, Step};
pub use challenge::{record_name, record_value};
pub use claimable::{Claimable, NotClaimable};
pub use examiner::{Examiner, Look, Observer};
pub use name::{DomainName, NotADomain};
pub use reply::{Delegation, Failure, Reply, Role, keep_relevant, texts};
pub use source::{Mode, PORT, Settings, SettingsError, TLS_PORT};
