//! Reading the configuration: at the start, and again beside the loop, since 10,000 tunnels take a good part of a second and no peer
//! waits for that.
//!
//! Decides: that one reading goes on at a time, and that a request during one gets another after it, since the file may
//! have changed meanwhile. Reads: configuration and secrets, in a thread of its own. Never: applies anything.

use super::{Options, state};
use crate::api::{Answer, Reloaded};
use crate::config::{Config, Errors};
use crate::secrets::Secrets;
use ravelin_ike::config::Connection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(super) type Loaded = Result<(Config, Vec<Connection>), Errors>;
type Reply = oneshot::Sender<Answer>;

#[derive(Debug, Default)]
pub(super) struct Reading {
    job: Option<JoinHandle<Loaded>>,
    /// Who asked for the reading that goes on; a signal wants no answer.
    replies: Vec<Reply>,
    /// Asked for meanwhile.
    next: Option<Vec<Reply>>,
}

impl Reading {
    pub(super) fn ask(&mut self, options: &Options, reply: Option<Reply>) {
        if self.job.is_some() {
            self.next.get_or_insert_default().extend(reply);
            return;
        }
        self.replies.extend(reply);
        let options = options.clone();
        self.job = Some(tokio::task::spawn_blocking(move || load(&options)));
    }

    /// Safe to cancel; never ready while nothing is read.
    pub(super) async fn done(&mut self) -> Loaded {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let loaded = job.await;
        self.job = None;
        loaded.unwrap_or_else(|why| {
            Err(Errors::of_file(
                "".as_ref(),
                format!("reading it ended: {why}"),
                "this is a fault of Ravelin; tell its makers",
            ))
        })
    }

    /// What the last reading came to, for all who asked for it.
    pub(super) fn answer(&mut self, answer: &Reloaded, options: &Options) {
        for reply in self.replies.drain(..) {
            // A client that left does not want it any more.
            let _ = reply.send(Answer::Reloaded(answer.clone()));
        }
        if let Some(replies) = self.next.take() {
            self.ask(options, None);
            self.replies = replies;
        }
    }
}

/// Configuration and secrets, checked, and what the engine makes of them. Secrets live on in the connections, and those of manual SAs in their tunnels.
pub(super) fn load(options: &Options) -> Result<(Config, Vec<Connection>), Errors> {
    let mut config = Config::load(&options.config)?;
    if let Some(run_dir) = &options.run_dir {
        config.control.run_dir.clone_from(run_dir);
    }
    let secrets = Secrets::load_for(&config)?;
    secrets.check(&config)?;
    config.warnings.extend(secrets.all_warnings(&config));
    let run_dir = config.control.run_dir.clone();
    state::restore(&run_dir, &mut config);
    let connections = config.connections(&secrets)?;
    secrets.give_keys(&mut config);
    secrets.name_credentials(&mut config);
    Ok((config, connections))
}
