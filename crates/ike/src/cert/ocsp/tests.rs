//! Answers made to order. That ours are understood, and those of others by us, the lab proves with openssl.

use super::*;
use crate::tests::pki::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

#[derive(Clone, Copy)]
struct Order<'a> {
    by: &'a Made,
    delegate: Option<&'a Made>,
    of: &'a Made,
    issuer: &'a Made,
    status: &'a [u8],
    this: u64,
    next: Option<u64>,
    nonce: Option<[u8; 32]>,
}

fn general(unix: u64) -> Vec<u8> {
    let utc = crate::tests::pki::time(unix);
    tlv(0x18, &[b"20", &utc[2..]])
}

impl Order<'_> {
    fn make(&self) -> Vec<u8> {
        let id = Question::new(&self.of.cert, &self.issuer.cert, [0; 32]).id;
        let next = self.next.map(|n| tlv(0xa0, &[&general(n)])).unwrap_or_default();
        let single = tlv(0x30, &[&id, self.status, &general(self.this), &next]);
        let nonce = self.nonce.map(|n| {
            let value = tlv(4, &[&tlv(4, &[&n])]);
            tlv(0xa1, &[&tlv(0x30, &[&tlv(0x30, &[&tlv(6, &[NONCE]), &value])])])
        });
        let who = tlv(0xa1, &[self.by.cert.subject().der()]);
        let data =
            tlv(0x30, &[&who, &general(self.this), &tlv(0x30, &[&single]), &nonce.unwrap_or_default()]);
        let scheme = Scheme::Ecdsa(Hash::Sha256);
        let signature = self.by.key.sign(scheme, &data, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let certs = self.delegate.map(|d| tlv(0xa0, &[&tlv(0x30, &[d.cert.der()])])).unwrap_or_default();
        let basic = tlv(0x30, &[&data, &scheme.identifier(), &tlv(3, &[&[0], &signature]), &certs]);
        let bytes = tlv(0x30, &[&tlv(6, &[BASIC]), &tlv(4, &[&basic])]);
        tlv(0x30, &[&[0x0a, 1, 0], &tlv(0xa0, &[&bytes])])
    }
}

const GOOD: &[u8] = &[0x80, 0];
const UNKNOWN: &[u8] = &[0x82, 0];

fn revoked() -> Vec<u8> {
    tlv(0xa1, &[&general(TODAY - DAY)])
}

fn delegate(by: &Made, purpose: &[u8], valid: (u64, u64)) -> Made {
    let purposes = tlv(0x30, &[&tlv(6, &[purpose])]);
    let order = crate::tests::pki::Order { valid, ..leaf("CN=OCSP", &[]) };
    crate::tests::pki::Order { extra: vec![("2.5.29.37", false, purposes)], ..order }.by(by)
}

const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
const TLS_SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// RFC 6960 §3.2, §4.2.2.2, §4.4.1; RFC 5019 §4
#[test]
fn answers_count_when_they_are_ours_fresh_and_signed_by_the_right_one() {
    let (root, other) = (ca("CN=Root").root(), ca("CN=Other").root());
    let (own, neighbour) = (leaf("CN=own", &[]).by(&root), leaf("CN=neighbour", &[]).by(&root));
    let question = Question::new(&own.cert, &root.cert, [7; 32]);
    let judge = |o: Order<'_>| question.judge(&o.make(), &root.cert, TODAY).map(|said| said.revoked);
    let good = Order {
        by: &root,
        delegate: None,
        of: &own,
        issuer: &root,
        status: GOOD,
        this: TODAY - 60,
        next: Some(TODAY + 60),
        nonce: Some([7; 32]),
    };
    let gone = revoked();
    assert_eq!(judge(good), Ok(false));
    assert_eq!(judge(Order { nonce: None, ..good }), Ok(false), "RFC 5019: responders may leave it out");
    assert_eq!(judge(Order { next: None, ..good }), Ok(false));
    assert_eq!(judge(Order { status: &gone, ..good }), Ok(true));
    assert_eq!(judge(Order { status: &gone, next: Some(TODAY - DAY), ..good }), Ok(true));
    let refused: [(Order<'_>, &str); 7] = [
        (Order { nonce: Some([8; 32]), ..good }, "another question"),
        (Order { of: &neighbour, ..good }, "another certificate"),
        (Order { by: &other, ..good }, "not signed by the issuer"),
        (Order { status: UNKNOWN, ..good }, "does not know"),
        (Order { this: TODAY + DAY, next: None, ..good }, "not valid yet"),
        (Order { next: Some(TODAY - DAY), ..good }, "out of date"),
        (Order { this: TODAY - DAY, next: None, ..good }, "out of date"),
    ];
    for (order, why) in refused {
        let got = judge(order).unwrap_err();
        assert!(got.contains(why), "{why}: {got}");
    }
    // Delegates: by the issuer, for this purpose, in force.
    let now = (TODAY - DAY, TODAY + DAY);
    for (made, lawful) in [
        (delegate(&root, OCSP_SIGNING, now), true),
        (delegate(&root, TLS_SERVER, now), false),
        (delegate(&other, OCSP_SIGNING, now), false),
        (delegate(&root, OCSP_SIGNING, (TODAY - 2 * DAY, TODAY - DAY)), false),
        (neighbour.clone(), false),
    ] {
        let got = judge(Order { by: &made, delegate: Some(&made), ..good });
        assert_eq!(got.is_ok(), lawful, "{:?} {got:?}", made.cert);
    }
}

#[test]
fn a_responder_that_does_not_answer_says_so() {
    let root = ca("CN=Root").root();
    let own = leaf("CN=own", &[]).by(&root);
    let question = Question::new(&own.cert, &root.cert, [7; 32]);
    for (status, why) in [(1, "malformed"), (2, "error"), (3, "later"), (6, "serve")] {
        let got = question.judge(&tlv(0x30, &[&[0x0a, 1, status]]), &root.cert, TODAY).unwrap_err();
        assert!(got.contains(why), "{got}");
    }
    let long = vec![0x30; MAX_LEN + 1];
    assert_eq!(question.judge(&long, &root.cert, TODAY), Err("the OCSP answer is too large"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any change of a good answer, and any bytes: no panic, and never "good" from what was not signed.
    #[test]
    fn altered_answers_say_nothing_good(at in any::<prop::sample::Index>(), xor in 1u8.., cut in any::<bool>()) {
        let root = ca("CN=Root").root();
        let own = leaf("CN=own", &[]).by(&root);
        let question = Question::new(&own.cert, &root.cert, [7; 32]);
        let order = Order {
            by: &root,
            delegate: None,
            of: &own,
            issuer: &root,
            status: UNKNOWN,
            this: TODAY,
            next: None,
            nonce: Some([7; 32]),
        };
        let mut answer = order.make();
        let at = at.index(answer.len());
        answer[at] ^= xor;
        if cut {
            answer.truncate(at);
        }
        prop_assert!(question.judge(&answer, &root.cert, TODAY).is_err());
    }

    #[test]
    fn any_bytes_are_no_danger(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let root = ca("CN=Root").root();
        let question = Question::new(&root.cert, &root.cert, [7; 32]);
        prop_assert!(question.judge(&bytes, &root.cert, TODAY).is_err());
    }
}
