use super::pair::*;
#[test]
fn placeholder() { let _ = Pair::new(); }
