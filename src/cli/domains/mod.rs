//! `rollcall domains`: an organization's domains and the records that prove them, by the kubectl and
//! the rights of whoever asks.

mod names;
mod told;

use std::{
    collections::HashMap,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    names::object_name,
    told::{State, challenge, tell},
};
use super::{
    kubeconfig::{self, Kubectl, run, run_on},
    printable,
};
use crate::{
    api::{VerifiedDomain, seconds},
    dns::DomainName,
};

/// How kubectl names the kind, whatever else is called alike.
const KIND: &str = "verifieddomains.rollcall.dev";
/// How often the cluster is asked while something is awaited.
const EVERY: Duration = Duration::from_secs(1);
/// How long Rollcall may take to tell the records of what was just made.
const TELLS: Duration = Duration::from_secs(30);

/// Why a command of these failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kubectl(#[from] kubeconfig::Error),
    #[error("kubectl's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
    #[error("nothing was changed:\n{0}")]
    Names(String),
    #[error(
        "nothing was changed: the VerifiedDomain {0}, which would be that of {1}, names another domain"
    )]
    Taken(String, DomainName),
}

/// List the domains, or add some.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Domains {
    #[command(subcommand)]
    command: Option<Typed>,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Typed {
    /// Make a VerifiedDomain for each domain, and show the records to publish.
    Add(Add),
}

/// Whose domains.
#[derive(Args)]
struct Place {
    /// The organization's namespace; without it, that of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    kubectl: Kubectl,
}

#[derive(Args)]
struct Add {
    /// The domains, separated by commas or spaces. Those that are there already stay as they are.
    #[arg(required = true)]
    domains: Vec<String>,
    /// Let each proof cover what is below its domain, too.
    #[arg(long)]
    include_subdomains: bool,
    /// Only print the objects, for Git: no cluster is needed.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Tell how it goes until all of them are verified.
    #[arg(long, conflicts_with = "output")]
    wait: bool,
    /// How long to wait at most, such as 10m.
    #[arg(long, default_value = "1h", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Yaml,
}

#[derive(Deserialize)]
struct List {
    items: Vec<VerifiedDomain>,
}

impl Domains {
    /// # Errors
    /// kubectl fails, or what was typed can't be done.
    pub async fn run(&self) -> Result<ExitCode, Error> {
        if let Some(Typed::Add(add)) = &self.command {
            return add.run().await;
        }
        let objects = self.place.list()?;
        if objects.is_empty() {
            println!("There are no domains. To add some: kubectl rollcall domains add acme.com");
        }
        print!("{}", tell(&objects));
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    /// kubectl, in this namespace.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.kubectl.command();
        if let Some(namespace) = &self.namespace {
            command.arg("--namespace").arg(namespace);
        }
        command.args(arguments);
        command
    }

    /// The domains that are there and stay, in the order of their objects' names.
    fn list(&self) -> Result<Vec<VerifiedDomain>, Error> {
        let output = run(&mut self.command(&["get", KIND, "--output=json"]))?;
        let List { mut items } = serde_json::from_slice(&output.stdout)?;
        items.retain(|object| object.metadata.deletion_timestamp.is_none());
        Ok(items)
    }

    /// Of these, in their order.
    fn named(&self, names: &[String]) -> Result<Vec<VerifiedDomain>, Error> {
        let mut objects: HashMap<_, _> =
            self.list()?.into_iter().map(|object| (object.name_any(), object)).collect();
        Ok(names.iter().filter_map(|name| objects.remove(name)).collect())
    }
}

impl Add {
    async fn run(&self) -> Result<ExitCode, Error> {
        let names = names::read(&self.domains).map_err(Error::Names)?;
        if let Some(Output::Yaml) = self.output {
            let objects = names.iter().map(|name| {
                let object = self.object(name, self.place.namespace.as_deref());
                Ok(serde_saphyr::to_string(&object)?)
            });
            print!("{}", objects.collect::<Result<Vec<_>, Error>>()?.join("---\n"));
            eprintln!(
                "Once they are applied: kubectl rollcall domains tells the records to publish."
            );
            return Ok(ExitCode::SUCCESS);
        }
        let objects = self.make(&names)?;
        let told = self
            .until(&objects, TELLS, |object, state| challenge(object).is_some() || state.stalled);
        let told = told.await?;
        print!("{}", tell(&self.place.named(&objects)?));
        if !told {
            eprintln!(
                "Not all records are told yet: is Rollcall running? Later: kubectl rollcall domains"
            );
            return Ok(ExitCode::FAILURE);
        }
        if self.wait { self.watch(&objects).await } else { Ok(ExitCode::SUCCESS) }
    }

    /// Makes what isn't there. Returns the names of all objects.
    fn make(&self, names: &[DomainName]) -> Result<Vec<String>, Error> {
        let there = self.place.list()?;
        let (mut objects, mut new) = (Vec::new(), Vec::new());
        let mut widened = Vec::new();
        for name in names {
            let same = there.iter().filter(|object| {
                DomainName::parse(&object.spec.domain).is_ok_and(|other| other == *name)
            });
            // of two the older one counts
            match same.min_by_key(|o| (o.metadata.creation_timestamp.clone(), o.name_any())) {
                Some(object) => {
                    if self.include_subdomains && object.spec.include_subdomains != Some(true) {
                        widened.push(object.name_any());
                    }
                    objects.push(object.name_any());
                }
                None => {
                    let own = object_name(name);
                    if there.iter().any(|object| object.name_any() == own) {
                        return Err(Error::Taken(own, name.clone()));
                    }
                    new.push(self.object(name, None));
                    objects.push(own);
                }
            }
        }
        if !new.is_empty() {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": new });
            let mut create = self.place.command(&["create", "--output=name", "--filename=-"]);
            run_on(&mut create, &serde_json::to_vec(&list)?)?;
        }
        let wide = json!({ "spec": { "includeSubdomains": true } }).to_string();
        for object in widened {
            let patch = ["patch", KIND, &object, "--type=merge", "--patch", &wide];
            run(&mut self.place.command(&patch))?;
        }
        Ok(objects)
    }

    fn object(&self, name: &DomainName, namespace: Option<&str>) -> Value {
        let mut object = json!({
            "apiVersion": VerifiedDomain::api_version(&()),
            "kind": VerifiedDomain::kind(&()),
            "metadata": { "name": object_name(name) },
            "spec": { "domain": name.as_str() },
        });
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        if self.include_subdomains {
            object["spec"]["includeSubdomains"] = true.into();
        }
        object
    }

    /// Tells each change of what the objects say, until all are verified, none can be any more, or
    /// the time is over.
    async fn watch(&self, objects: &[String]) -> Result<ExitCode, Error> {
        let mut said = HashMap::new();
        let ended = self.until(objects, self.timeout, |object, state| {
            if said.insert(object.name_any(), state.clone()).as_ref() != Some(state) {
                println!("{}", state.line(object));
            }
            state.verified || state.stalled
        });
        ended.await?;
        let verified = self.place.named(objects)?;
        let verified = verified.iter().filter(|object| State::of(object).verified).count();
        println!("{verified} of {} verified.", objects.len());
        Ok(if verified == objects.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Asks about the objects again and again until all of them are `done`, or gone. Returns `false`
    /// if that took too long.
    async fn until(
        &self,
        objects: &[String],
        timeout: Duration,
        mut done: impl FnMut(&VerifiedDomain, &State) -> bool,
    ) -> Result<bool, Error> {
        let begun = Instant::now();
        loop {
            let mut all = true;
            for object in self.place.named(objects)? {
                all &= done(&object, &State::of(&object));
            }
            if all {
                return Ok(true);
            }
            if begun.elapsed() >= timeout {
                return Ok(false);
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text).and_then(|seconds| u64::try_from(seconds).ok());
    let says = || format!("write how long, such as 10m, not {}", printable(text));
    seconds.map(Duration::from_secs).ok_or_else(says)
}
