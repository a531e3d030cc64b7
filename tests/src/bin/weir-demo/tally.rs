//! What the clients of one protocol did, and how it is shown.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Counted by all clients of one protocol.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) transactions: AtomicU64,
    pub(crate) wrong: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) most_connections: AtomicU64,
    pub(crate) stop: AtomicBool,
}

fn load(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

/// One line, over the one before: for each protocol clients, server connections, transactions, wrong answers.
pub(crate) fn print_progress(tallies: &[(&str, &Tally)], elapsed: Duration) {
    print!("\r\x1b[K{:>3} s", elapsed.as_secs());
    for (name, tally) in tallies {
        print!(
            "   {name}: {:>4} clients, {:>2} server connections, {:>9} transactions, {} wrong",
            load(&tally.connected),
            load(&tally.most_connections),
            grouped(load(&tally.transactions)),
            load(&tally.wrong),
        );
    }
    let _ = std::io::stdout().flush();
}

/// A column for each protocol.
pub(crate) fn print_table(tallies: &[(&str, &Tally)], limit: u32, elapsed: Duration) {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(1).max(1);
    type Figure = Box<dyn Fn(&Tally) -> u64>;
    let rows: [(&str, Figure, &str); 7] = [
        ("transactions", Box::new(|tally| load(&tally.transactions)), ""),
        (
            "transactions per second",
            Box::new(move |tally| load(&tally.transactions) * 1000 / milliseconds),
            "",
        ),
        ("wrong answers", Box::new(|tally| load(&tally.wrong)), ""),
        ("failed clients", Box::new(|tally| load(&tally.failed)), ""),
        ("clients", Box::new(|tally| load(&tally.connected)), ""),
        (
            "server connections",
            Box::new(|tally| load(&tally.most_connections)),
            "  the most that the database ever showed",
        ),
        (
            "their limit",
            Box::new(move |_| u64::from(limit)),
            "  max_connections in databases.yaml",
        ),
    ];
    print!("  {:<24}", "");
    for (name, _) in tallies {
        print!("{name:>12}");
    }
    println!();
    for (name, figure, remark) in rows {
        print!("  {name:<24}");
        for (_, tally) in tallies {
            print!("{:>12}", grouped(figure(tally)));
        }
        println!("{remark}");
    }
    println!();
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
