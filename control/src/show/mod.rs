//! What `ravelin show` prints: tables and details, as plain text of at most 100 columns where names allow.
//!
//! Decides: which fields a table has, how a number reads. Reads: answers of the API. Writes: text.
//! Never: asks anything, hides a packet (a counter at 0 may be left out of a table, never out of the JSON).

mod table;
mod units;
mod tunnels;
mod sas;
mod ports;
mod drops;
mod nat;
mod gre;
mod proposals;
mod certificates;
mod check;

pub use check::{Checked, check};
pub use units::{bytes, span};

use crate::api::{Answer, What};

/// The text of an answer to [`crate::api::Request::Show`]; `detail` when one thing was named.
pub fn text(answer: &Answer, detail: bool) -> String {
    match answer {
        Answer::Tunnels(all) if detail => tunnels::details(all),
        Answer::Tunnels(all) => tunnels::table(all),
        Answer::Sas(all) if detail => sas::details(all),
        Answer::Sas(all) => sas::table(all),
        Answer::Ports(all) => ports::ports(all),
        Answer::Workers(all) => ports::workers(all),
        Answer::Drops(drops) => drops::table(drops, detail),
        Answer::Nat(status) => nat::text(status),
        Answer::Gre(all) => gre::text(all),
        Answer::Proposals(all) => proposals::text(all),
        Answer::Certificates(all) => certificates::text(all, detail),
        Answer::Error(refusal) => format!("{}\n", refusal.message),
        Answer::Outcome(_)
        | Answer::Traced { .. }
        | Answer::Cleared(_)
        | Answer::Reloaded(_)
        | Answer::Version(_) => String::new(),
    }
}

/// The JSON of an answer: the content alone, an array for everything but drops. Keys are stable.
pub fn json(answer: &Answer) -> Result<String, serde_json::Error> {
    match answer {
        Answer::Tunnels(all) => serde_json::to_string_pretty(all),
        Answer::Sas(all) => serde_json::to_string_pretty(all),
        Answer::Ports(all) => serde_json::to_string_pretty(all),
        Answer::Workers(all) => serde_json::to_string_pretty(all),
        Answer::Drops(drops) => serde_json::to_string_pretty(drops),
        Answer::Nat(status) => serde_json::to_string_pretty(status),
        Answer::Gre(all) => serde_json::to_string_pretty(all),
        Answer::Proposals(all) => serde_json::to_string_pretty(all),
        Answer::Certificates(all) => serde_json::to_string_pretty(all),
        Answer::Cleared(all) => serde_json::to_string_pretty(all),
        Answer::Outcome(outcome) => serde_json::to_string_pretty(outcome),
        Answer::Traced { tunnel, on } => serde_json::to_string_pretty(&(tunnel, on)),
        Answer::Reloaded(reloaded) => serde_json::to_string_pretty(reloaded),
        Answer::Version(version) => serde_json::to_string_pretty(version),
        Answer::Error(refusal) => serde_json::to_string_pretty(refusal),
    }
}

/// Only what bears this name: a tunnel, the SAs of a tunnel, a port, a worker's number, drops of a worker or port.
/// An answer of another kind stays as it is. `Err` says which names there are.
pub fn only(answer: Answer, name: &str) -> Result<Answer, String> {
    fn keep<T>(all: Vec<T>, name: &str, kind: &str, of: impl Fn(&T) -> String) -> Result<Vec<T>, String> {
        let mut names: Vec<String> = all.iter().map(&of).collect();
        names.dedup();
        let kept: Vec<T> = all.into_iter().filter(|one| of(one) == name).collect();
        if kept.is_empty() { Err(no_such(kind, name, &names)) } else { Ok(kept) }
    }
    Ok(match answer {
        Answer::Tunnels(all) => Answer::Tunnels(keep(all, name, "tunnel", |t| t.name.clone())?),
        Answer::Sas(all) => Answer::Sas(keep(all, name, "tunnel with an SA", |sa| sa.tunnel.clone())?),
        Answer::Ports(all) => Answer::Ports(keep(all, name, "port", |port| port.name.clone())?),
        Answer::Workers(all) => Answer::Workers(keep(all, name, "worker", |worker| worker.id.to_string())?),
        Answer::Gre(all) => Answer::Gre(keep(all, name, "tunnel of GRE", |it| it.name.clone())?),
        Answer::Proposals(all) => Answer::Proposals(keep(all, name, "tunnel", |it| it.tunnel.clone())?),
        Answer::Certificates(all) if all.is_empty() => {
            return Err(format!("tunnel \"{name}\" has no certificate, or there is no such tunnel"));
        }
        Answer::Drops(all) => Answer::Drops(drops::only(all, name)?),
        Answer::Nat(mut status) => {
            status.workers = keep(status.workers, name, "worker", |worker| worker.worker.to_string())?;
            Answer::Nat(status)
        }
        other @ (Answer::Certificates(_)
        | Answer::Cleared(_)
        | Answer::Outcome(_)
        | Answer::Traced { .. }
        | Answer::Reloaded(_)
        | Answer::Version(_)
        | Answer::Error(_)) => other,
    })
}

fn no_such(kind: &str, name: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("no {kind} \"{name}\": there is none at all");
    }
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = crate::config::nearest(name, &refs).map(|near| format!("; did you mean \"{near}\"?"));
    let listed: Vec<&str> = refs.iter().copied().take(20).collect();
    near.map_or_else(
        || format!("no {kind} \"{name}\"; there are: {}", listed.join(", ")),
        |near| format!("no {kind} \"{name}\"{near}"),
    )
}

/// What to say when there is nothing to show.
pub(crate) const fn nothing(what: What) -> &'static str {
    match what {
        What::Tunnels => "no tunnels are configured\n",
        What::Sas => "no SAs are installed\n",
        What::Ports => "no ports: the data plane is not connected\n",
        What::Workers => "no workers: the data plane is not connected\n",
        What::Drops => "nothing was dropped\n",
        What::Nat => "no NAT rules are configured\n",
        What::Gre => "no tunnels of GRE are configured\n",
        What::Proposals => "no tunnels are configured\n",
        What::Certificates => "no tunnel uses certificates\n",
    }
}

#[cfg(test)]
mod tests;
