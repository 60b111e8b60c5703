//! A CA and a certificate for each end, made for one run: what ECDSA costs where the other end uses a pre-shared key.
//!
//! Decides: P-256. All spokes share one certificate and name: what is signed and verified is the same, and thousands of
//! keys need not be made. Writes: files of one run. Never: keeps a key beyond it.

use super::world::End;
use crate::conf::Proof;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Pki {
    dir: PathBuf,
}

const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Pki {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let me = Self { dir: dir.join("pki") };
        std::fs::create_dir_all(&me.dir)?;
        me.certificate("ca", &["basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign"], &[])?;
        for end in [End::Hub, End::Spokes] {
            let name = format!("subjectAltName=DNS:{}", identity(end));
            let (ca, key) = (me.file("ca.pem"), me.file("ca.key"));
            let extensions =
                ["basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature", &name];
            me.certificate(file_of(end), &extensions, &["-CA", &ca, "-CAkey", &key])?;
        }
        Ok(me)
    }

    pub(super) fn proof(&self, end: End) -> Proof {
        let file = |kind: &str| self.file(&format!("{}.{kind}", file_of(end)));
        Proof::Certificate { certificate: file("pem"), key: file("key"), ca: self.file("ca.pem") }
    }

    fn certificate(&self, name: &str, extensions: &[&str], issuer: &[&str]) -> anyhow::Result<()> {
        let (pem, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        let subject = format!("/CN={name} of this bench alone");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-config", "/dev/null", "-days", "2", "-subj", &subject]).args(CURVE);
        openssl.args(["-keyout", &key, "-out", &pem]).args(issuer);
        openssl.args(extensions.iter().flat_map(|e| ["-addext", e]));
        let out = openssl.output().context("running openssl\n    cure: apt-get install openssl")?;
        if !out.status.success() {
            bail!("openssl req: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

const fn file_of(end: End) -> &'static str {
    match end {
        End::Hub => "hub",
        End::Spokes => "spokes",
    }
}

/// What the certificate says.
pub(super) const fn identity(end: End) -> &'static str {
    match end {
        End::Hub => "hub.bench",
        End::Spokes => "spokes.bench",
    }
}
