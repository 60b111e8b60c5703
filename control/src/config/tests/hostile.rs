//! Nothing that a file holds can stop the process: any bytes, mutated good files, huge ones.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    /// Good files with bytes replaced, removed and put in: errors are in bounds and printable, or the file is good.
    #[test]
    fn mutated_files_never_panic(
        which in 0usize..3,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0u8..3), 1..12),
    ) {
        let mut text: Vec<char> = [MINIMAL, TWO, REFERENCE][which].chars().collect();
        for (at, letter, kind) in edits {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = letter,
                1 => { text.remove(at); }
                _ => text.insert(at, letter),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.errors.is_empty() && errors.errors.len() <= MAX_FINDINGS);
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            prop_assert!(errors.errors.iter().all(|error| error.line <= lines));
            let escape = errors.to_string().contains(char::from(27));
            prop_assert!(!escape);
        }
    }

    /// Values of the right key and a wrong kind.
    #[test]
    fn any_value_under_any_key(
        section in 0usize..5,
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("\"\"".to_owned()), Just("[]".to_owned()), Just("{}".to_owned()), Just("[[[]]]".to_owned()),
            Just("1979-05-27".to_owned()), Just("nan".to_owned()), Just("true".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            "[a-z0-9./:-]{0,20}".prop_map(|word| format!("\"{word}\"")),
            "[a-z0-9./:-]{0,20}".prop_map(|word| format!("[\"{word}\", 3, {{}}]")),
        ],
    ) {
        let (head, keys) = [
            ("[[port]]", sections::PORT_KEYS),
            ("[dataplane]", sections::DATAPLANE_KEYS),
            ("[control]", sections::CONTROL_KEYS),
            ("[[tunnel]]", tunnel::TUNNEL_KEYS),
            ("[[tunnel]]", life::LIFE_KEYS),
        ][section];
        let _ = parse(&format!("{head}\n{} = {value}\n", keys[key.index(keys.len())]));
    }

    /// What a proposal prints is what was read.
    #[test]
    fn proposals_print_as_they_read(words in proptest::collection::vec(
        prop::sample::select(vec!["aes256gcm16", "aes128", "sha256", "sha1", "prfsha384", "x25519", "ecp256", "esn"]),
        1..5,
    )) {
        let text = words.join("-");
        if let Ok(proposal) = proposal::parse_ike(&text) {
            prop_assert_eq!(proposal::parse_ike(&ike_text(&proposal)), Ok(proposal));
        }
        for proposal in proposal::parse_esp(&text).unwrap_or_default() {
            prop_assert_eq!(proposal::parse_esp(&esp_text(&proposal)), Ok(vec![proposal]));
        }
        for proposal in proposal::parse_ah(&text).unwrap_or_default() {
            prop_assert_eq!(proposal::parse_ah(&esp_text(&proposal)), Ok(vec![proposal]));
        }
    }

    #[test]
    fn times_and_sizes_print_as_they_read(seconds in 1u64..2_592_000, bytes in (1u64 << 20)..(1 << 60)) {
        let time = Duration::from_secs(seconds);
        let text = format!("t = \"{}\"\ns = \"{}\"", value::time_text(time), value::size_text(bytes));
        let table = DeTable::parse(&text).unwrap();
        let get = |key: &str| table.get_ref().get(key).unwrap().get_ref();
        prop_assert_eq!(value::duration(get("t"), Duration::ZERO..=time, false), Ok(time));
        prop_assert_eq!(value::size(get("s")), Ok(bytes));
    }
}

/// Deep nesting ends in an error, not in an overflow of the stack.
#[test]
fn deep_nesting_is_refused() {
    let deep = format!("cores = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(parse(&deep).is_err());
    let inline = format!("a = {}", "{ a = ".repeat(20_000));
    assert!(parse(&inline).is_err());
}

/// Many errors are counted, not kept.
#[test]
fn findings_are_bounded() {
    let text: String = (0..5000).map(|n| format!("key{n} = 1\n")).collect();
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.errors.len(), MAX_FINDINGS);
    assert_eq!(errors.more, 5000 - MAX_FINDINGS);
    assert!(errors.to_string().contains("more"));
    let nonsense = "= =\n".repeat(1_000_000);
    assert!(parse(&nonsense).unwrap_err().errors.len() <= MAX_FINDINGS);
}

#[test]
fn too_many_tunnels_are_refused() {
    let text = "[[tunnel]]\n".repeat(tunnel::MAX_TUNNELS + 1);
    assert_error(&text, &["16385 times [[tunnel]]", "at most 16384"]);
}

/// A thousand tunnels are read and checked, and each gets its own number.
#[test]
fn a_thousand_tunnels() {
    let mut text = "[[port]]\nname = \"p\"\n".to_owned();
    for n in 0..1000 {
        text.push_str(&format!(
            "[[tunnel]]\nname = \"t{n}\"\nlocal = \"198.18.0.1\"\nremote = \"198.19.{}.{}\"\n\
             selectors = [{{ local = \"10.1.0.0/24\", remote = \"10.{}.{}.0/24\" }}]\n",
            n / 250,
            n % 250 + 1,
            100 + n / 250,
            n % 250
        ));
    }
    let config = good(&text);
    assert_eq!(config.policies().len(), 1002);
    let ids: std::collections::BTreeSet<_> = config.tunnels.iter().map(|tunnel| tunnel.id).collect();
    assert_eq!(ids.len(), 1000);
}
