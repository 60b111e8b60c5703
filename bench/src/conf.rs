//! Configuration and secrets of a gateway under test, as files for the real control process.
//!
//! Decides: nothing but the text. Writes: two files. Never: a secret that is used anywhere else.

use anyhow::Context;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One `[[tunnel]]` and its `[[secret]]`.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    pub(crate) name: String,
    pub(crate) local: Ipv4Addr,
    pub(crate) remote: Ipv4Addr,
    pub(crate) local_id: String,
    pub(crate) remote_id: String,
    /// Networks as in `10.1.0.0/24`.
    pub(crate) selector: (String, String),
    pub(crate) start: &'static str,
    pub(crate) ike: String,
    pub(crate) proof: Proof,
}

/// How both ends of a tunnel prove who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    Psk,
    /// Files.
    Certificate {
        certificate: String,
        key: String,
        ca: String,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Gateway<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) run_dir: &'a Path,
    pub(crate) ports: &'a [&'a str],
    pub(crate) core: usize,
    pub(crate) max_sas: usize,
}

impl Gateway<'_> {
    /// Writes both files; returns the configuration's path.
    pub(crate) fn write(&self, tunnels: &[Tunnel]) -> anyhow::Result<PathBuf> {
        let config = self.dir.join("ravelin.toml");
        put(&self.dir.join("secrets.toml"), &secrets(tunnels))?;
        put(&config, &self.config(tunnels))?;
        Ok(config)
    }

    fn config(&self, tunnels: &[Tunnel]) -> String {
        let mut out = String::new();
        for port in self.ports {
            let _ = writeln!(out, "[[port]]\nname = \"{port}\"\n");
        }
        let (core, max_sas, run_dir) = (self.core, self.max_sas.max(2), self.run_dir.display());
        let _ = writeln!(out, "[dataplane]\ncores = [{core}]\nmax-sas = {max_sas}\n");
        let _ = writeln!(out, "[control]\nrun-dir = \"{run_dir}\"\nsecrets = \"secrets.toml\"\n");
        for t in tunnels {
            let _ = writeln!(
                out,
                "[[tunnel]]\nname = \"{}\"\nlocal = \"{}\"\nremote = \"{}\"\nlocal-id = \"{}\"\nremote-id = \"{}\"\n\
                 selectors = [{{ local = \"{}\", remote = \"{}\" }}]\nike-proposals = [\"{}\"]\n\
                 esp-proposals = [\"aes128gcm16\"]\nstart = \"{}\"\n",
                t.name,
                t.local,
                t.remote,
                t.local_id,
                t.remote_id,
                t.selector.0,
                t.selector.1,
                t.ike,
                t.start
            );
            if let Proof::Certificate { certificate, key, ca } = &t.proof {
                let _ = writeln!(
                    out,
                    "auth = \"certificate\"\ncertificate = \"{certificate}\"\nprivate-key = \"{key}\"\n\
                     trusted-ca = [\"{ca}\"]\n"
                );
            }
        }
        out
    }
}

fn secrets(tunnels: &[Tunnel]) -> String {
    let mut out = String::new();
    for t in tunnels.iter().filter(|t| t.proof == Proof::Psk) {
        // Both ends derive the same text: the ids in alphabetical order.
        let mut ids = [t.local_id.as_str(), t.remote_id.as_str()];
        ids.sort_unstable();
        let _ = writeln!(
            out,
            "[[secret]]\nlocal-id = \"{}\"\nremote-id = \"{}\"\npsk = \"of this bench alone {} {}\"\n",
            t.local_id, t.remote_id, ids[0], ids[1]
        );
    }
    out
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_one_secret() {
        let a = Tunnel {
            name: "t".into(),
            local: Ipv4Addr::new(10, 0, 0, 1),
            remote: Ipv4Addr::new(10, 0, 0, 2),
            local_id: "a.bench".into(),
            remote_id: "b.bench".into(),
            selector: ("10.1.0.0/24".into(), "10.2.0.0/24".into()),
            start: "respond",
            ike: "aes256-sha256-x25519".into(),
            proof: Proof::Psk,
        };
        let b = Tunnel { local_id: a.remote_id.clone(), remote_id: a.local_id.clone(), ..a.clone() };
        let psk = |t: &Tunnel| secrets(std::slice::from_ref(t)).lines().last().map(str::to_owned);
        assert_eq!(psk(&a), psk(&b));
        let proof = Proof::Certificate { certificate: "c".into(), key: "k".into(), ca: "a".into() };
        assert_eq!(secrets(&[Tunnel { proof, ..a.clone() }]), "", "no secret where none is used");
        let text =
            Gateway { dir: Path::new("."), run_dir: Path::new("/r"), ports: &["wan0"], core: 1, max_sas: 9 };
        let text = text.config(&[a]);
        assert!(text.contains("remote-id = \"b.bench\"") && text.contains("max-sas = 9"), "{text}");
    }
}
