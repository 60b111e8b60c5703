//! Numbers as people read them.

/// `812 B`, `1.2 GiB`: three digits at least, exact in JSON.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut shift = 0u32;
    let mut unit = "KiB";
    for name in UNITS {
        shift += 10;
        unit = name;
        if count >> shift < 1024 {
            break;
        }
    }
    let whole = count >> shift;
    let tenths = ((u128::from(count) * 10) >> shift) % 10;
    if whole < 100 { format!("{whole}.{tenths} {unit}") } else { format!("{whole} {unit}") }
}

/// `5s`, `12m`, `3h20m`, `4d2h`: two units at most.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |large: u64, l: &str, small: u64, s: &str| {
        if small == 0 { format!("{large}{l}") } else { format!("{large}{l}{small}{s}") }
    };
    if days > 0 {
        two(days, "d", hours, "h")
    } else if hours > 0 {
        two(hours, "h", minutes, "m")
    } else if minutes > 0 {
        two(minutes, "m", seconds % 60, "s")
    } else {
        format!("{seconds}s")
    }
}

pub(super) fn span_or(seconds: Option<u64>, none: &str) -> String {
    seconds.map_or_else(|| none.to_owned(), span)
}

pub(super) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
