//! The secrets file: pre-shared keys and passwords, apart from the configuration, for the eyes of its owner only.
//!
//! Decides: who may be able to read the file (its owner, who is us or root), which secret belongs to which tunnel.
//! Reads: the file, at most [`MAX_SIZE`] bytes, once per (re)load. Writes: nothing.
//! Never: prints a value, keeps a copy of the text after parsing (the buffer is wiped).

mod parse;
mod keys;
mod named;

pub use keys::{Keys, Proofs};

use ravelin_ike::config::{Identity, Secret};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

use crate::config::{Config, Diagnostic, Errors, Findings, IdText, Manual, Tunnel, Way};
use parse::Parsed;

/// 16,384 tunnels with generous keys and comments fit.
pub const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Longest pre-shared key in bytes.
pub const MAX_SECRET: usize = 1024;

/// Shorter pre-shared keys draw a warning: they can be guessed from one captured exchange (RFC 7296 §2.15).
pub const SHORT_SECRET: usize = 16;

/// All secrets of one file. Values are wiped on drop.
#[derive(Debug)]
pub struct Secrets {
    file: PathBuf,
    entries: Vec<Entry>,
    index: Index,
    /// Names and passwords of EAP.
    users: Arc<BTreeMap<String, Secret>>,
    /// Post-quantum pre-shared keys (RFC 8784) by their names.
    ppks: BTreeMap<String, Secret>,
    /// Keys of SAs by their names.
    sa_keys: BTreeMap<String, Secret>,
    warnings: Vec<Diagnostic>,
}

/// Where the entry of two identities, ours and the peer's, stands.
type Index = HashMap<(Identity, Identity), usize>;

#[derive(Debug)]
struct Entry {
    local: Identity,
    remote: Identity,
    secret: Secret,
    line: u32,
}

impl Secrets {
    /// Reads the file that `[control] secrets` names.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let text = read(path)?;
        Self::parse(path, &text)
    }

    /// The secrets of a configuration; where no tunnel needs one, there need not be a file.
    pub fn load_for(config: &Config) -> Result<Self, Errors> {
        let path = &config.control.secrets;
        let needed = config.tunnels.iter().any(|tunnel| tunnel.auth.needs_file() || tunnel.manual.is_some());
        if needed || path.exists() { Self::load(path) } else { Self::parse(path, "") }
    }

    /// From text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Errors> {
        let Parsed { entries, index, users, folded: _, ppks, sa_keys, warnings } = parse::parse(path, text)?;
        Ok(Self { file: path.to_owned(), entries, index, users: Arc::new(users), ppks, sa_keys, warnings })
    }

    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The secret of this tunnel: the entry with its two identities; else the one with its local identity and any
    /// remote.
    pub fn of(&self, tunnel: &Tunnel) -> Option<Secret> {
        self.entry(tunnel).map(|entry| entry.secret.clone())
    }

    fn entry(&self, tunnel: &Tunnel) -> Option<&Entry> {
        let with = |remote: &Identity| self.index.get(&(tunnel.local_id.clone(), remote.clone()));
        let found = with(&tunnel.remote_id).or_else(|| with(&Identity::Any));
        found.and_then(|n| self.entries.get(*n))
    }

    /// Everybody who may log in.
    pub(crate) fn users(&self) -> Arc<BTreeMap<String, Secret>> {
        Arc::clone(&self.users)
    }

    pub(crate) fn user(&self, name: &str) -> Option<&Secret> {
        self.users.get(name)
    }

    pub(crate) fn ppk(&self, id: &str) -> Option<&Secret> {
        self.ppks.get(id)
    }

    /// Gives manual SAs their keys. Those that are missing or of another length [`Self::check`] has said.
    pub fn give_keys(&self, config: &mut Config) {
        config.tunnels.give_keys(|name| self.sa_keys.get(name).cloned());
    }

    /// A key of a manual SA that is not there, or not as long as its algorithms want it.
    fn lack_of_manual(&self, tunnel: &Tunnel) -> Option<(String, String)> {
        let all = tunnel.manual.iter().flat_map(Manual::sas);
        let mut all = all.flat_map(|sa| sa.key_names(&tunnel.name).map(|name| (name, sa.key_len())));
        let (name, len) =
            all.find(|(name, len)| self.sa_keys.get(name).is_none_or(|k| k.expose().len() != *len))?;
        let add =
            format!("[[sa-key]] name = \"{name}\" key-hex = \"…\" (make it with: openssl rand -hex {len})");
        Some((
            format!(
                "a [[sa-key]] with name \"{name}\" and {len} bytes: the cipher's key, then the integrity's"
            ),
            add,
        ))
    }

    /// What the tunnel needs of the file and does not find: what is missing, and what to write there.
    fn lack(&self, tunnel: &Tunnel) -> Option<(String, String)> {
        if tunnel.manual.is_some() {
            return self.lack_of_manual(tunnel);
        }
        let auth = &tunnel.auth;
        let lacks = |id: &&String| self.ppk(id).is_none();
        if let Some(id) = auth.ppk_id.as_ref().filter(lacks) {
            let add = format!("[[ppk]] id = \"{id}\" key = \"…\"");
            return Some((format!("a [[ppk]] with id \"{id}\""), add));
        }
        let lacks =
            |name: &&String| auth.local == Way::Eap && auth.eap_password() && self.user(name).is_none();
        if let Some(name) = auth.eap_user.as_ref().filter(lacks) {
            let add = format!("[[user]] name = \"{name}\" password = \"…\"");
            return Some((format!("a [[user]] with name \"{name}\""), add));
        }
        let add = || "[[user]] name = \"…\" password = \"…\"".to_owned();
        (auth.remote == Way::Eap && auth.eap_password() && self.users.is_empty())
            .then(|| ("a [[user]] for everybody who may log in".to_owned(), add()))
    }

    /// Every tunnel has one, or the errors name the tunnels' lines.
    pub fn check(&self, config: &Config) -> Result<(), Errors> {
        let mut findings = Findings::of(&config.file);
        let lacks = |tunnel: &Tunnel| tunnel.auth.needs_secret() && self.of(tunnel).is_none();
        for tunnel in config.tunnels.iter().flat_map(Tunnel::towards).filter(lacks) {
            let (local, remote) = (IdText(&tunnel.local_id), IdText(&tunnel.remote_id));
            findings.error(
                tunnel.line,
                format!("tunnel \"{}\" has no secret", tunnel.name),
                format!(
                    "a [[secret]] for local-id {local} and remote-id {remote} in {}",
                    self.file.display()
                ),
                format!(
                    "add there: [[secret]] local-id = \"{local}\" remote-id = \"{remote}\" psk = \"…\" \
                     (each on a line of its own)"
                ),
            );
        }
        for tunnel in &config.tunnels {
            let Some((what, add)) = self.lack(tunnel) else { continue };
            let found = format!("tunnel \"{}\" needs what the secrets file does not have", tunnel.name);
            let expected = format!("{what} in {}", self.file.display());
            let cure = format!("add there: {add} (each on a line of its own)");
            findings.error(tunnel.line, found, expected, cure);
        }
        findings.finish().map(|_| ())
    }

    /// Those of the file, and one for each secret that no tunnel uses.
    pub fn all_warnings(&self, config: &Config) -> Vec<Diagnostic> {
        let mut findings = Findings::of(&self.file);
        for line in self.unused(config) {
            let cure = "remove it, or correct its identities";
            findings.warning(line, "this secret belongs to no tunnel", cure);
        }
        self.warnings.iter().cloned().chain(findings.finish().unwrap_or_default()).collect()
    }

    /// Names of the tunnels in both configurations whose secret is another one in `new`.
    pub fn changed<'n>(&self, config: &Config, new: &Self, new_config: &'n Config) -> Vec<&'n str> {
        let tunnels = new_config.tunnels.iter().filter(|after| {
            let all = |s: &Self, t: &Tunnel| t.towards().map(|t| s.of(&t)).collect::<Vec<_>>();
            config.tunnel(&after.name).is_some_and(|before| {
                all(self, before) != all(new, after) || self.named(before) != new.named(after)
            })
        });
        tunnels.map(|tunnel| tunnel.name.as_str()).collect()
    }

    /// Users, our own among them, and the PPK of this tunnel.
    fn named(&self, tunnel: &Tunnel) -> (Option<&BTreeMap<String, Secret>>, [Option<&Secret>; 2]) {
        let auth = &tunnel.auth;
        let users = (auth.remote == Way::Eap).then_some(&*self.users);
        let named = [
            auth.eap_user.as_ref().and_then(|name| self.user(name)),
            auth.ppk_id.as_ref().and_then(|id| self.ppk(id)),
        ];
        (users, named)
    }

    /// Lines of secrets that no tunnel uses.
    fn unused(&self, config: &Config) -> Vec<u32> {
        let secret = || config.tunnels.iter().filter(|t| t.auth.needs_secret());
        let backups =
            |t: &'_ Tunnel| t.exchanges.backups.iter().map(|b| b.remote_id.clone()).collect::<Vec<_>>();
        let remotes =
            |t: &'_ Tunnel| core::iter::once(t.remote_id.clone()).chain(backups(t)).collect::<Vec<_>>();
        let pairs: HashSet<(&Identity, Identity)> =
            secret().flat_map(|t| remotes(t).into_iter().map(move |id| (&t.local_id, id))).collect();
        let locals: HashSet<_> = secret().map(|t| &t.local_id).collect();
        let used = |entry: &Entry| {
            pairs.contains(&(&entry.local, entry.remote.clone()))
                || (entry.remote == Identity::Any && locals.contains(&entry.local))
        };
        self.entries.iter().filter(|entry| !used(entry)).map(|entry| entry.line).collect()
    }
}

/// The text, in a buffer that is wiped on drop.
fn read(path: &Path) -> Result<Zeroizing<String>, Errors> {
    let missing =
        format!("create it with mode 0600, or point `secrets` in [control] at it ({})", path.display());
    let bytes = read_private(path, "the secrets file", MAX_SIZE).map_err(|why| {
        let cure = if why.missing { missing } else { why.cure };
        Errors::of_file(path, why.found, cure)
    })?;
    let text = core::str::from_utf8(&bytes).map_err(|_| {
        Errors::of_file(path, "the secrets file is not UTF-8".to_owned(), "save it as UTF-8".to_owned())
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Why a file that must stay secret is not taken.
#[derive(Debug)]
struct Refused {
    found: String,
    cure: String,
    /// It cannot be opened.
    missing: bool,
}

fn refuse<T>(found: String, cure: String) -> Result<T, Refused> {
    Err(Refused { found, cure, missing: false })
}

/// The bytes, in a buffer that is wiped on drop. The open file is judged, not the path: it cannot be swapped between.
fn read_private(path: &Path, what: &str, max: u64) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|why| Refused {
            found: format!("{what} cannot be read: {why}"),
            cure: String::new(),
            missing: true,
        })?;
    check_access(path, &file, what)?;
    let mut bytes = Zeroizing::new(Vec::new());
    // Room for all of it at once: growing would leave copies behind that nobody wipes.
    let size = file.metadata().map_or(max, |meta| meta.len().min(max));
    bytes.reserve_exact(usize::try_from(size).unwrap_or(usize::MAX).saturating_add(64));
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .or_else(|why| refuse(format!("{what} cannot be read: {why}"), String::new()))?;
    if bytes.len() as u64 > max {
        let cure = "keep nothing else in it".to_owned();
        return refuse(format!("{what} is larger than {max} bytes"), cure);
    }
    Ok(bytes)
}

fn check_access(path: &Path, file: &File, what: &str) -> Result<(), Refused> {
    let meta = match file.metadata() {
        Ok(meta) => meta,
        Err(why) => return refuse(format!("{what} cannot be examined: {why}"), String::new()),
    };
    if !meta.is_file() {
        return refuse(format!("{what} is not a regular file"), "name a regular file".to_owned());
    }
    let us = nix::unistd::geteuid().as_raw();
    if meta.uid() != us && meta.uid() != 0 {
        return refuse(
            format!("{what} belongs to user {}, who could change it", meta.uid()),
            format!("chown {us} {}", path.display()),
        );
    }
    if meta.mode() & 0o077 != 0 {
        return refuse(
            format!("{what} has mode {:04o}: others than its owner can use it", meta.mode() & 0o7777),
            format!("chmod 600 {}", path.display()),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
