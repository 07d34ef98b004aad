//! `rollcall domain explain`: the look at a domain's record, told as a story. It is the controller's
//! own code, and asks from where it is run.

use std::io::Write;

use clap::Args;

use super::{dns::Dns, kubeconfig::Kubectl, printable};
use crate::dns::{self, Answer, DomainName, Examination, Examiner, Look, Step};

#[derive(Args)]
pub struct DomainExplain {
    /// The domain.
    domain: String,
    /// The value that proves it. Without it, that of the VerifiedDomain in the namespace; without
    /// both, what is published is shown and not checked.
    #[arg(long, value_name = "VALUE", conflicts_with = "namespace", value_parser = value)]
    expected: Option<String>,
    /// The organization's namespace, whose VerifiedDomain is read by kubectl.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Ask name servers at private and loopback addresses, too, as for a class that allows them.
    #[arg(long)]
    allow_private: bool,
    #[command(flatten)]
    dns: Dns,
    #[command(flatten)]
    kubectl: Kubectl,
}

/// Why nothing could be looked up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {error}", printable(text))]
    NotADomain { text: String, error: dns::NotADomain },
    #[error(transparent)]
    Settings(#[from] dns::SettingsError),
    #[error(transparent)]
    Kubectl(#[from] super::kubeconfig::Error),
    #[error("no VerifiedDomain in {} has a record for {domain} yet", printable(namespace))]
    NoVerifiedDomain { namespace: String, domain: DomainName },
    #[error("what was found can't be written: {0}")]
    Output(#[from] std::io::Error),
}

impl DomainExplain {
    /// Looks, and writes what was asked, what was answered, and what it means. `true` if the domain
    /// is proved.
    ///
    /// # Errors
    /// There is nothing to look for, or the settings are no good.
    pub async fn run(&self, mut out: impl Write) -> Result<bool, Error> {
        let domain = DomainName::parse(&self.domain)
            .map_err(|error| Error::NotADomain { text: self.domain.clone(), error })?;
        let expected = match (&self.expected, &self.namespace) {
            (Some(value), _) => value.clone(),
            (None, Some(namespace)) => self.of_cluster(namespace, &domain)?,
            (None, None) => String::new(),
        };
        let examiner = Examiner::new(&self.dns.settings())?;
        let allow_private = self.allow_private;
        let look = Look { domain: &domain, expected: &expected, allow_private, renewing: false };
        let looked = examiner.examine(&look).await;
        out.write_all(tell(&look, &looked).as_bytes())?;
        Ok(looked.answer == Answer::Match)
    }

    /// The value in the status of the namespace's VerifiedDomain for `domain`.
    fn of_cluster(&self, namespace: &str, domain: &DomainName) -> Result<String, Error> {
        let of = format!("--namespace={namespace}");
        let list = self.kubectl.get(&["verifieddomains.rollcall.dev", &of])?;
        let value = list["items"].as_array().and_then(|items| {
            items.iter().find_map(|item| {
                let status = &item["status"];
                (status["domain"] == domain.as_str())
                    .then(|| status["challenge"]["recordValue"].as_str())?
            })
        });
        value.map(str::to_owned).ok_or_else(|| Error::NoVerifiedDomain {
            namespace: namespace.to_owned(),
            domain: domain.clone(),
        })
    }
}

fn value(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the value can't be empty".into()) } else { Ok(text.to_owned()) }
}

/// The story of a look.
fn tell(look: &Look<'_>, looked: &Examination) -> String {
    let record = dns::record_name(look.domain);
    let mut story = format!("Looking for a TXT record {record}");
    match look.expected {
        "" => story.push_str(". Its value isn't checked: give it by --expected or -n NAMESPACE.\n"),
        value => story.push_str(&format!("\nwith the value {}\n", printable(value))),
    }
    story.push('\n');
    let wide = |of: fn(&Step) -> &str| {
        looked.steps.iter().map(|step| of(step).chars().count()).max().unwrap_or(0)
    };
    let (server, question) = (wide(|step| &step.server), wide(|step| &step.question));
    for step in &looked.steps {
        story.push_str(&format!(
            "{:>6} ms  {:server$}  {:question$}  {}\n",
            step.took.as_millis(),
            printable(&step.server),
            printable(&step.question),
            printable(&step.outcome),
        ));
    }
    let answer = looked.answer.label();
    story.push_str(&format!("\n{answer}: {}\n", printable(&looked.explanation)));
    if let Some(wait) = looked.wait_at_least {
        let seconds = wait.as_secs();
        story.push_str(&format!(
            "Resolvers remember this for another {seconds} s, and show nothing new before.\n"
        ));
    }
    story
}
