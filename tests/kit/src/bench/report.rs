//! The table: each figure beside its aim.

use std::{fmt, time::Instant};

/// What the design asks of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// Nothing: it explains the others.
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// The rows so far.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 3]>);

impl Table {
    /// Adds a row.
    pub fn row(&mut self, figure: &str, value: f64, unit: &str, aim: Aim) {
        let text = |value| format!("{} {unit}", number(value)).trim_end().to_owned();
        let (aim, met) = match aim {
            Aim::None => (String::new(), true),
            Aim::AtMost(most) => (format!("at most {}", text(most)), value <= most),
            Aim::AtLeast(least) => (format!("at least {}", text(least)), value >= least),
        };
        let aim = if met { aim } else { format!("{aim}: MISSED") };
        println!("    {figure}: {}", text(value));
        self.0.push([figure.to_owned(), text(value), aim]);
    }

    /// Adds two rows on how long something took, in milliseconds: within what half of the times are,
    /// and 99 % of them.
    pub fn times(&mut self, what: &str, mut times: Vec<f64>, most: Aim) {
        times.sort_unstable_by(f64::total_cmp);
        for (percent, share, aim) in [(50, "half of them", Aim::None), (99, "99 %", most)] {
            let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
            let time = times.get(at).copied().unwrap_or(f64::NAN);
            self.row(&format!("{what}, {share} within"), time, "ms", aim);
        }
    }
}

/// How long it is since then.
pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Three digits, no more than the machine's noise allows.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == v.trunc() => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["figure", "value", "aim"].map(str::to_owned);
        let width = |column: usize| {
            let cells = self.0.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let [a, b, c] = [0, 1, 2].map(width);
        let mut line = |[x, y, z]: &[String; 3]| writeln!(f, "| {x:a$} | {y:>b$} | {z:c$} |");
        line(&head)?;
        line(&[a, b, c].map(|width| "-".repeat(width)))?;
        self.0.iter().try_for_each(line)
    }
}
