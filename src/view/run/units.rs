//! Durations and sizes as people read them.

use k8s_openapi::jiff::SignedDuration;

/// `0.4 s`, `12.3 s`, `3 m 05 s`, `1 h 02 m`. A negative one, which clocks that disagree make, is `0.0 s`.
pub fn duration(duration: SignedDuration) -> String {
    let milliseconds = duration.as_millis().max(0);
    let tenths = (milliseconds + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (milliseconds + 500) / 1000;
    if seconds < 3600 {
        return format!("{} m {:02} s", seconds / 60, seconds % 60);
    }
    let minutes = (seconds + 30) / 60;
    format!("{} h {:02} m", minutes / 60, minutes % 60)
}

const UNITS: [(u64, &str); 5] =
    [(1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB"), (1 << 40, "TiB"), (1 << 50, "PiB")];

/// `512 B`, `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    match unit(count) {
        Some((unit, name)) => format!("{} {name}", decimal(count, unit)),
        None => format!("{count} B"),
    }
}

/// `12/40 MiB`, with one decimal below ten.
pub fn part(done: u64, total: u64) -> String {
    let done = done.min(total);
    match unit(total) {
        None => format!("{done}/{total} B"),
        Some((unit, name)) if tenths(total, unit) < 100 => {
            format!("{}/{} {name}", decimal(done, unit), decimal(total, unit))
        }
        Some((unit, name)) => {
            // Rounded down: the last unit shows once all of it is here.
            format!("{}/{} {name}", done / unit, total / unit)
        }
    }
}

/// The unit in which a number has at most four digits before the point.
fn unit(count: u64) -> Option<(u64, &'static str)> {
    if count < 1024 {
        return None;
    }
    let fits = |(unit, _): &(u64, &str)| tenths(count, *unit) < 10240;
    UNITS.into_iter().find(fits).or(UNITS.last().copied())
}

fn tenths(count: u64, unit: u64) -> u128 {
    (u128::from(count) * 10 + u128::from(unit) / 2) / u128::from(unit)
}

fn decimal(count: u64, unit: u64) -> String {
    let tenths = tenths(count, unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (milliseconds, text) in [
            (-5, "0.0 s"),
            (0, "0.0 s"),
            (449, "0.4 s"),
            (12_340, "12.3 s"),
            (59_949, "59.9 s"),
            (59_950, "1 m 00 s"),
            (185_000, "3 m 05 s"),
            (3_599_499, "59 m 59 s"),
            (3_599_500, "1 h 00 m"),
            (3_720_000, "1 h 02 m"),
            (100 * 3_600_000, "100 h 00 m"),
        ] {
            assert_eq!(duration(SignedDuration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_525, "1.0 MiB"),
            (12_897_485, "12.3 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (done, total, text) in [
            (12 << 20, 40 << 20, "12/40 MiB"),
            ((40 << 20) - 1, 40 << 20, "39/40 MiB"),
            (1 << 20, 4 << 20, "1.0/4.0 MiB"),
            (5, 100, "5/100 B"),
            (9, 5, "5/5 B"),
        ] {
            assert_eq!(part(done, total), text);
        }
    }
}
