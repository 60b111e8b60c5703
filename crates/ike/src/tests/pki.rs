//! Certificates made to order, lawful and other.

use crate::cert::scheme::{Hash, Scheme, tlv};
use crate::cert::{Certificate, DnPattern, Family, PrivateKey};
use crate::endpoint::WallClock;
use der::asn1::ObjectIdentifier;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// The time in all tests.
pub(crate) const TODAY: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;

pub(crate) struct Today;

impl WallClock for Today {
    fn unix(&self) -> u64 {
        TODAY
    }
}

#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) key: PrivateKey,
    pub(crate) cert: Certificate,
}

#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) subject: String,
    pub(crate) family: Family,
    pub(crate) valid: (u64, u64),
    /// Path length.
    pub(crate) ca: Option<Option<u8>>,
    /// The bit string of key usage.
    pub(crate) usage: Option<Vec<u8>>,
    /// General names, encoded.
    pub(crate) alt: Vec<Vec<u8>>,
    /// OID, critical, value.
    pub(crate) extra: Vec<(&'static str, bool, Vec<u8>)>,
    pub(crate) seed: u64,
}

pub(crate) fn dns(name: &str) -> Vec<u8> {
    tlv(0x82, &[name.as_bytes()])
}

pub(crate) fn mail(name: &str) -> Vec<u8> {
    tlv(0x81, &[name.as_bytes()])
}

pub(crate) fn ip(address: &[u8]) -> Vec<u8> {
    tlv(0x87, &[address])
}

pub(crate) fn ca(subject: &str) -> Order {
    let usage = Some(vec![1, 0x06]);
    Order { ca: Some(None), usage, ..leaf(subject, &[]) }
}

pub(crate) fn leaf(subject: &str, alt: &[Vec<u8>]) -> Order {
    Order {
        subject: subject.to_owned(),
        family: Family::P256,
        valid: (TODAY - DAY, TODAY + DAY),
        ca: None,
        usage: Some(vec![7, 0x80]),
        alt: alt.to_vec(),
        extra: Vec::new(),
        seed: subject.bytes().fold(7, |n, b| (n * 31 + u64::from(b)) & 0xffff_ffff),
    }
}

impl Order {
    pub(crate) fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    fn key(&self) -> PrivateKey {
        PrivateKey::generate(self.family, &mut ChaCha20Rng::seed_from_u64(self.seed))
    }

    pub(crate) fn root(self) -> Made {
        let key = self.key();
        let der = self.der(&key, &self.subject, &key);
        Made { cert: Certificate::from_der(&der).unwrap(), key }
    }

    pub(crate) fn by(self, issuer: &Made) -> Made {
        let key = self.key();
        let der = self.der(&key, &issuer.cert.subject().to_string(), &issuer.key);
        Made { cert: Certificate::from_der(&der).unwrap(), key }
    }

    /// `signer` may be anybody's key.
    pub(crate) fn der(&self, key: &PrivateKey, issuer: &str, signer: &PrivateKey) -> Vec<u8> {
        let scheme = match signer.public().family() {
            Family::Rsa => Scheme::Rsa(Hash::Sha256),
            Family::P256 => Scheme::Ecdsa(Hash::Sha256),
            Family::P384 => Scheme::Ecdsa(Hash::Sha384),
            Family::P521 => Scheme::Ecdsa(Hash::Sha512),
            Family::Ed25519 => Scheme::Ed25519,
        };
        let name = |text: &str| match text {
            "" => vec![0x30, 0],
            text => DnPattern::parse(text).unwrap().der().unwrap(),
        };
        let validity = tlv(0x30, &[&time(self.valid.0), &time(self.valid.1)]);
        let extensions = self.extensions();
        let tbs = tlv(
            0x30,
            &[
                &[0xa0, 3, 2, 1, 2],
                &tlv(2, &[&[0x10, 0x20, u8::try_from(self.seed & 0xff).unwrap()]]),
                &scheme.identifier(),
                &name(issuer),
                &validity,
                &name(&self.subject),
                key.public().spki(),
                &tlv(0xa3, &[&tlv(0x30, &extensions.iter().map(Vec::as_slice).collect::<Vec<_>>())]),
            ],
        );
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed + 1);
        let signature = signer.sign(scheme, &tbs, &mut rng).unwrap();
        tlv(0x30, &[&tbs, &scheme.identifier(), &tlv(3, &[&[0], &signature])])
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        if let Some(length) = self.ca {
            let length = length.map(|n| tlv(2, &[&[n]])).unwrap_or_default();
            all.push(extension("2.5.29.19", true, &tlv(0x30, &[&[1, 1, 0xff], &length])));
        }
        if let Some(bits) = &self.usage {
            all.push(extension("2.5.29.15", true, &tlv(3, &[bits])));
        }
        if !self.alt.is_empty() {
            let names = tlv(0x30, &self.alt.iter().map(Vec::as_slice).collect::<Vec<_>>());
            all.push(extension("2.5.29.17", false, &names));
        }
        all.extend(self.extra.iter().map(|(oid, critical, value)| extension(oid, *critical, value)));
        all
    }
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = ObjectIdentifier::new(oid).unwrap();
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(0x30, &[&tlv(6, &[oid.as_bytes()]), critical, &tlv(4, &[value])])
}

pub(crate) fn time(unix: u64) -> Vec<u8> {
    let t = der::DateTime::from_unix_duration(core::time::Duration::from_secs(unix)).unwrap();
    let text = format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}Z",
        t.year() % 100,
        t.month(),
        t.day(),
        t.hour(),
        t.minutes(),
        t.seconds()
    );
    tlv(0x17, &[text.as_bytes()])
}
