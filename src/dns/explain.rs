//! What was seen, and what to do about it: the sentences of a condition's message.
//!
//! They are the same for as long as the same is seen: names come in alphabetical order, and nothing
//! here counts or tells the time.

use std::time::Duration;

use hickory_net::proto::rr::Name;

use super::{
    Answer, challenge,
    examiner::Look,
    judge::Opinion,
    reply::Failure,
    trip::{plain, shown},
};

/// Where a look ended.
#[derive(Clone, Debug)]
pub struct Finding {
    pub answer: Answer,
    /// The name that was looked at last: the challenge name, or what it is an alias of.
    pub name: Name,
    /// The names on the way there, the challenge name first.
    pub aliases: Vec<Name>,
    /// The zone that answers for it; none where resolvers are asked.
    pub zone: Option<Name>,
    /// What each server said there, in the order of their names.
    pub opinions: Vec<(String, Opinion)>,
    /// DNSSEC's keys couldn't be had; the answer tells why.
    pub keys_missing: bool,
    /// How long a resolver remembers that there is nothing.
    pub remembered: Option<Duration>,
    pub hint: Option<Hint>,
    /// What was seen at a name that nobody has published, if that decided.
    pub beside: Option<Box<Finding>>,
}

/// Where the value is instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    AtApex,
    Doubled(Name),
    /// The records that are there answer for any name.
    Wildcard,
}

impl Finding {
    pub fn new(name: Name, answer: Answer) -> Self {
        Self {
            answer,
            name,
            aliases: Vec::new(),
            zone: None,
            opinions: Vec::new(),
            keys_missing: false,
            remembered: None,
            hint: None,
            beside: None,
        }
    }

    /// The servers of which this is true, "ns1.acme.com and ns2.acme.com".
    fn servers(&self, of: impl Fn(&Opinion) -> bool) -> String {
        let names = self.opinions.iter().filter(|(_, opinion)| of(opinion));
        let mut names: Vec<_> = names.map(|(name, _)| name.as_str()).collect();
        names.dedup();
        list(&names)
    }

    /// All the records that were seen, in the order of their text.
    pub fn texts(&self) -> Vec<&str> {
        let texts = self.opinions.iter().filter_map(|(_, opinion)| match opinion {
            Opinion::Texts(texts) => Some(texts),
            _ => None,
        });
        let mut texts: Vec<_> = texts.flatten().map(String::as_str).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// One or two sentences.
pub fn explain(look: &Look<'_>, finding: &Finding) -> String {
    let domain = look.domain;
    let record = challenge::record_name(domain);
    let value = match look.expected {
        "" => "the value that `kubectl get verifieddomains -o wide` shows".to_owned(),
        value => format!("the value {value}"),
    };
    let publish = format!("publish a TXT record {record} with {value}");
    let place = match finding.aliases.as_slice() {
        [] => record.clone(),
        _ => format!("{}, which {record} is an alias of,", plain(&finding.name)),
    };
    match finding.answer {
        Answer::Match => format!("The record {record} is published."),
        Answer::NoData | Answer::NxDomain => absent(look, finding, &record, &publish),
        Answer::Mismatch => mismatch(look, finding, &place, &value),
        Answer::Inconsistent => inconsistent(look, finding, &place),
        Answer::Wildcard => format!(
            "A wildcard record shows the value at any name beside {record}, which proves nothing: \
             {publish} at that very name, and take it off the wildcard."
        ),
        Answer::CnameLoop => format!(
            "The alias at {record} leads back to where it began, by {}: {publish} instead.",
            plain(&finding.name)
        ),
        Answer::TooManyCnames => format!(
            "{record} is an alias of an alias, and so on for more than {} times: let it be an alias \
             of the last one, or {publish} instead.",
            finding.aliases.len().saturating_sub(1)
        ),
        Answer::Bogus => bogus(finding),
        Answer::ServFail
        | Answer::Refused
        | Answer::Timeout
        | Answer::Malformed
        | Answer::Unreachable => failed(finding, domain.as_str(), &record),
    }
}

fn absent(look: &Look<'_>, finding: &Finding, record: &str, publish: &str) -> String {
    let domain = look.domain;
    match &finding.hint {
        Some(Hint::AtApex) => {
            return format!(
                "The value is published at {domain} itself: move it to the name {record}."
            );
        }
        Some(Hint::Doubled(doubled)) => return appended(look, doubled, record),
        _ => {}
    }
    if !finding.aliases.is_empty() {
        return format!(
            "{record} is an alias of {}, and there is no TXT record there: publish it there, with \
             the same value, or {publish} instead of the alias.",
            plain(&finding.name)
        );
    }
    let unknown = finding.answer == Answer::NxDomain
        && finding.zone.as_ref().is_some_and(|zone| zone.num_labels() == 1);
    if unknown {
        let registry = finding.zone.as_ref().map(plain).unwrap_or_default();
        return format!(
            "The registry of .{registry} knows no domain of {domain}: register it, or correct the \
             name. Then {publish}."
        );
    }
    format!("There is no TXT record {record} yet: to prove {domain}, {publish}.")
}

/// What a panel makes of a whole name, entered where it wants one without the zone.
fn appended(look: &Look<'_>, doubled: &Name, record: &str) -> String {
    let doubled = plain(doubled);
    let zone = doubled.strip_prefix(record).unwrap_or_default();
    let short = record.strip_suffix(zone).unwrap_or(record);
    format!(
        "The value is published at {doubled}: the DNS panel appends the zone by itself. Enter \
         {short} as the name there, so that {record} has the value {}.",
        look.expected
    )
}

fn mismatch(look: &Look<'_>, finding: &Finding, place: &str, value: &str) -> String {
    let texts = finding.texts();
    let expected = look.expected;
    if expected.is_empty() {
        let shown: Vec<_> = texts.iter().map(|text| shown(text)).collect();
        return format!("At {place} is {}: it must be {value}.", shown.join(" and "));
    }
    let bare = |text: &&&str| {
        let quotes = ['"', '\'', '\u{201c}', '\u{201d}', '\\'];
        text.trim_matches(|c: char| quotes.contains(&c) || c.is_whitespace()) == expected
    };
    if let Some(quoted) = texts.iter().find(bare) {
        return format!(
            "The value at {place} has quotes or spaces around it, {}: enter it without them, as \
             {expected}.",
            shown(quoted)
        );
    }
    // strings that the name servers would join, had they been published as one record
    let halves = texts.iter().any(|start| {
        expected.strip_prefix(start).is_some_and(|end| !start.is_empty() && texts.contains(&end))
    });
    if halves {
        return format!(
            "The value at {place} is split over two records: publish it as one, {expected}."
        );
    }
    if finding.hint == Some(Hint::Wildcard) {
        return format!(
            "A wildcard record answers for {place} with {}: publish a TXT record at that very name \
             with {value}.",
            shown(texts.first().unwrap_or(&""))
        );
    }
    match &finding.hint {
        Some(Hint::Doubled(doubled)) => {
            return appended(look, doubled, &challenge::record_name(look.domain));
        }
        Some(Hint::AtApex) => {
            return format!(
                "The value is published at {} itself, and something else at {place}: move it there.",
                look.domain
            );
        }
        _ => {}
    }
    // one that was meant for us tells more than what else is there
    let ours = texts.iter().find(|text| text.starts_with(challenge::PREFIX));
    let other = ours.or(texts.first()).map(|text| shown(text)).unwrap_or_default();
    format!(
        "There is a TXT record at {place} but its value is {other}: change it to {expected}, or add \
         a second record."
    )
}

fn inconsistent(look: &Look<'_>, finding: &Finding, place: &str) -> String {
    if finding.beside.is_some() {
        let record = challenge::record_name(look.domain);
        return format!(
            "The value is published at {record}, but whether a wildcard leads there can't be told, \
             for the name servers disagree about the names beside it: wait until they have the same \
             copy of the zone, or mend its transfer."
        );
    }
    let there = finding.servers(|opinion| opinion.shows(look.expected));
    let rest = finding
        .servers(|opinion| !opinion.shows(look.expected) && !matches!(opinion, Opinion::Failed(_)));
    if there.is_empty() {
        return format!(
            "The name servers disagree about {place}, {rest} each saying something else: wait until \
             they have the same copy of the zone, or mend its transfer."
        );
    }
    format!(
        "The record {place} is visible at {there} and not yet at {rest}: wait until most of the name \
         servers have it. If that takes long, their copies of the zone aren't kept up to date."
    )
}

fn failed(finding: &Finding, domain: &str, record: &str) -> String {
    if let Some(beside) = &finding.beside {
        return format!(
            "The value is published at {record}, but whether a wildcard shows it can't be told, for \
             {}: it is looked for again.",
            reasons(beside)
        );
    }
    if finding.keys_missing {
        return format!(
            "The keys by which DNSSEC would prove {record} can't be had: let all name servers of \
             {domain} and above answer for DNSKEY and DS."
        );
    }
    if finding.opinions.is_empty() {
        return format!(
            "Looking for {record} took too long: the name servers of {domain} answer slowly, or not \
             at all."
        );
    }
    let reasons = reasons(finding);
    let advice = match &finding.zone {
        None => "see that the resolvers work".to_owned(),
        // nobody's who can read this
        Some(zone) if zone.num_labels() < 2 => {
            return format!(
                "{record} can't be looked up, for no name server of {} can be asked: if that lasts, \
                 the platform team should see that port 53 of the internet's name servers can be \
                 reached, or let resolvers be asked.",
                if zone.is_root() { "the root".into() } else { plain(zone) }
            );
        }
        Some(zone) => format!("to whoever runs {}: {}", plain(zone), remedy(finding)),
    };
    format!("{record} can't be looked up, for {reasons}; {advice}.")
}

fn remedy(finding: &Finding) -> &'static str {
    let some = |failures: &[Failure]| {
        let mut opinions = finding.opinions.iter();
        opinions.any(|(_, said)| matches!(said, Opinion::Failed(why) if failures.contains(why)))
    };
    if some(&[Failure::Private]) {
        "let it have public name servers, or ask the platform team for a class that allows private \
         endpoints"
    } else if some(&[Failure::Refused, Failure::Lame, Failure::NoAddress]) {
        "its delegation is broken; correct the name servers at its registrar, or let them serve it"
    } else {
        "mend its name servers"
    }
}

fn bogus(finding: &Finding) -> String {
    let all = finding.servers(|opinion| !matches!(opinion, Opinion::Failed(_)));
    let resolvers = match &finding.zone {
        None => " If every domain is so, the resolvers leave DNSSEC's records out: ask others.",
        Some(_) => "",
    };
    format!(
        "What {all} says of {} isn't signed as DNSSEC demands, so that it isn't believed: mend the \
         zone's signatures, or its DS record at the registrar.{resolvers}",
        plain(&finding.name)
    )
}

/// "ns1.acme.com doesn't answer in time, ns2.acme.com refuses to answer".
fn reasons(finding: &Finding) -> String {
    let said: Vec<_> = finding
        .opinions
        .iter()
        .filter_map(|(server, opinion)| match opinion {
            Opinion::Failed(failure) => Some(format!("{server} {failure}")),
            _ => None,
        })
        .collect();
    list(&said.iter().map(String::as_str).collect::<Vec<_>>())
}
