use super::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

struct Gateway {
    ring: Ring,
    rng: ChaCha20Rng,
    start: Instant,
    clock: Clock,
}

impl Gateway {
    fn new(seed: u64) -> Self {
        let start = Instant::now();
        let clock = Clock { here: start, boot: Duration::from_secs(9000) };
        Self { ring: Ring::default(), rng: ChaCha20Rng::seed_from_u64(seed), start, clock }
    }

    fn at(&self, secs: u64) -> Instant {
        self.start + Duration::from_secs(secs)
    }

    fn give(&mut self, secs: u64) -> (TicketId, Vec<u8>) {
        let (now, until) = (self.at(secs), self.at(secs) + LIFETIME);
        self.ring.seal(now, &self.clock, &mut self.rng, &Session::example(self.start), until).unwrap()
    }

    fn open(&self, secs: u64, ticket: &[u8]) -> Result<Resumed, Refusal> {
        self.ring.open(self.at(secs), &self.clock, ticket)
    }

    fn refusal(&self, secs: u64, ticket: &[u8]) -> Option<Refusal> {
        self.open(secs, ticket).err()
    }
}

// RFC 5723 §5: what the old IKE SA was goes on
#[test]
fn a_ticket_says_what_its_session_was_and_nobody_else_can_read_or_make_one() {
    let mut gateway = Gateway::new(1);
    let (id, ticket) = gateway.give(0);
    let resumed = gateway.open(10, &ticket).unwrap();
    let (got, want) = (resumed.session, Session::example(gateway.start));
    assert_eq!(resumed.ticket.unwrap(), (id, gateway.start + LIFETIME));
    assert_eq!((got.connection, got.fingerprint, got.proposal), (want.connection, want.fingerprint, 1));
    assert_eq!((&*got.d, &got.peer, &got.claimed), (&*want.d, &want.peer, &want.claimed));
    assert_eq!((got.ours, got.reauthenticate_at), (want.ours, want.reauthenticate_at));
    assert!(!ticket.windows(5).any(|w| w == b"a.lab" || w == b"carol" || w == [9; 5]), "sealed");
    for at in 0..ticket.len() {
        let mut bad = ticket.clone();
        bad[at] ^= 1;
        assert_eq!(gateway.refusal(10, &bad), Some(Refusal::Unreadable), "byte {at}");
        assert_eq!(gateway.refusal(10, &ticket[..at]), Some(Refusal::Unreadable), "length {at}");
    }
    let foreign = Gateway::new(2).give(0).1;
    assert_eq!(gateway.refusal(10, &foreign), Some(Refusal::Unreadable));
    assert_eq!(gateway.refusal(10, &vec![0; 70_000]), Some(Refusal::Unreadable));
}

#[test]
fn a_ticket_has_an_end_and_its_key_too() {
    let mut gateway = Gateway::new(1);
    let (_, first) = gateway.give(0);
    let (_, later) = gateway.give(3500);
    assert!(gateway.open(3599, &first).is_ok());
    assert_eq!(gateway.refusal(3600, &first), Some(Refusal::Expired));
    // Another key makes tickets by now; the one before opens what it sealed.
    let (_, third) = gateway.give(4000);
    assert_ne!(first[..HEAD], third[..HEAD]);
    assert_eq!(first[..HEAD], later[..HEAD]);
    assert!(gateway.open(7000, &later).is_ok() && gateway.open(7000, &third).is_ok());
    let _ = gateway.give(8000);
    assert_eq!(gateway.refusal(8000, &later), Some(Refusal::Unreadable), "the key is gone");
}

#[test]
fn a_spent_ticket_stays_spent_and_what_is_remembered_is_bounded() {
    let mut gateway = Gateway::new(1);
    let ((id, used), (_, other)) = (gateway.give(0), gateway.give(0));
    gateway.ring.spend(gateway.start, (id, gateway.at(3600)));
    assert_eq!(gateway.refusal(1, &used), Some(Refusal::Spent));
    assert!(gateway.open(1, &other).is_ok());
    let name = |n: usize| {
        let mut id = [0; NONCE];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    };
    for n in 1..MAX_SPENT {
        gateway.ring.spend(gateway.start, (name(n), gateway.at(3600)));
    }
    assert!(gateway.open(1, &other).is_ok());
    // One more than there is room for: no ticket of before is good any more, and none twice.
    gateway.ring.spend(gateway.start, (name(0), gateway.at(3600)));
    for ticket in [&used, &other] {
        assert_eq!(gateway.refusal(1, ticket), Some(Refusal::Unreadable));
    }
    let (_, fresh) = gateway.give(2);
    assert!(gateway.open(3, &fresh).is_ok());
    assert!(gateway.ring.spent.is_empty());
}

#[test]
fn the_next_process_takes_tickets_of_ike_sas_that_went_on_only() {
    let mut gateway = Gateway::new(1);
    let ((on, lives), (_, ended)) = (gateway.give(0), gateway.give(0));
    assert!(gateway.ring.is_changed());
    let record = gateway.ring.record(&gateway.clock);
    assert!(!gateway.ring.is_changed());
    let mut next = Gateway::new(2);
    (next.start, next.clock) = (gateway.start, gateway.clock);
    next.ring.restore(&gateway.clock, &record);
    assert!(next.ring.is_changed(), "it is stored again");
    next.ring.inherit((on, gateway.at(3600)));
    assert!(next.open(5, &lives).is_ok());
    assert_eq!(next.refusal(5, &ended), Some(Refusal::Spent));
    // What it gives itself is by a key of its own.
    let (_, own) = next.give(5);
    assert_ne!(own[..HEAD], lives[..HEAD]);
    assert!(next.open(6, &own).is_ok());
    next.ring.spend(next.start, (on, gateway.at(3600)));
    assert_eq!(next.refusal(6, &lives), Some(Refusal::Spent));
    // A process after a process: never more keys than fit.
    for seed in 3..30 {
        let record = next.ring.record(&next.clock);
        let mut after = Gateway::new(seed);
        (after.start, after.clock) = (next.start, next.clock);
        after.ring.restore(&after.clock, &record);
        after.give(6);
        assert!(after.ring.keys.len() <= MAX_KEYS);
        next = after;
    }
    for len in 0..record.len() {
        Ring::default().restore(&gateway.clock, &record[..len]);
    }
}
