//! What `weir top` shows of two looks at a gateway, as lines of a width. Pure.
//!
//! Invariant: what a gateway says is made harmless before it is shown, and no line is wider than it may be.

use std::time::Duration;

use clap::ValueEnum;
use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::super::stats::{Holder, Snapshot, Source, duration};
use crate::check::table::printable;

const HELP: &str = "q leave  s/S sort  r reverse  up/down choose  p pins and waits  space stop";

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// By name
    Name,
    /// Clients that are connected
    Clients,
    /// Clients that wait for a server connection
    Waiting,
    /// Server connections in use
    Active,
    /// Server connections at rest
    Idle,
    /// Server connections that clients keep between transactions
    Pinned,
    /// Server connections in whatever state
    Open,
    /// Transactions a second
    Tps,
    /// How long clients wait
    Wait,
    /// How long statements take
    Query,
}

impl Column {
    pub(super) fn next(self) -> Self {
        self.step(1)
    }

    pub(super) fn previous(self) -> Self {
        self.step(Column::value_variants().len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let all = Column::value_variants();
        let at = all.iter().position(|column| *column == self).unwrap_or_default();
        all[(at + by) % all.len()]
    }

    fn word(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// Everything that is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    endpoint: String,
    previous: Option<Snapshot>,
    current: Snapshot,
    /// Between the two.
    elapsed: Duration,
    /// The source that is looked at more closely, by name.
    chosen: Option<String>,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    pub(super) is_still: bool,
    pub(super) has_details: bool,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
}

impl View {
    pub(super) fn new(endpoint: String, sort: Column, current: Snapshot) -> Self {
        View {
            endpoint,
            previous: None,
            current,
            elapsed: Duration::ZERO,
            chosen: None,
            sort,
            is_reversed: false,
            is_still: false,
            has_details: true,
            trouble: None,
        }
    }

    /// Takes another look in, so much later.
    pub(super) fn advance(&mut self, next: Snapshot, elapsed: Duration) {
        self.previous = Some(std::mem::replace(&mut self.current, next));
        self.elapsed = elapsed;
        self.trouble = None;
    }

    /// Chooses the source so many rows further down.
    pub(super) fn choose(&mut self, by: isize) {
        let sorted = self.sorted();
        let at = self
            .chosen_row(&sorted)
            .saturating_add_signed(by)
            .min(sorted.len().saturating_sub(1));
        self.chosen = sorted.get(at).map(|source| source.name.clone());
    }

    fn chosen_row(&self, sorted: &[&Source]) -> usize {
        let chosen = self.chosen.as_deref();
        sorted
            .iter()
            .position(|source| Some(source.name.as_str()) == chosen)
            .unwrap_or_default()
    }

    /// The most first; names from a to z.
    fn sorted(&self) -> Vec<&Source> {
        let mut sources: Vec<&Source> = self.current.sources.iter().collect();
        sources.sort_by(|a, b| {
            let by_value = self.value(b).total_cmp(&self.value(a));
            by_value.then_with(|| a.name.cmp(&b.name))
        });
        if self.is_reversed {
            sources.reverse();
        }
        sources
    }

    fn value(&self, source: &Source) -> f64 {
        let count = match self.sort {
            Column::Name => 0,
            Column::Clients => source.clients,
            Column::Waiting => source.waiting,
            Column::Active => source.sum(|pool| pool.active),
            Column::Idle => source.sum(|pool| pool.idle),
            Column::Pinned => source.sum(|pool| pool.pinned),
            Column::Open => source.open(),
            Column::Tps => return self.rate(source).unwrap_or_default(),
            Column::Wait => return source.worst(|pool| pool.wait.p95),
            Column::Query => return source.worst(|pool| pool.query.p95),
        };
        count as f64
    }

    /// Transactions a second; unknown before the second look, and for a gateway that has started anew.
    fn rate(&self, source: &Source) -> Option<f64> {
        let before = self
            .previous
            .as_ref()?
            .sources
            .iter()
            .find(|before| before.name == source.name)?;
        let done = source.transactions.checked_sub(before.transactions)?;
        (!self.elapsed.is_zero()).then(|| done as f64 / self.elapsed.as_secs_f64())
    }
}

/// The screen.
pub(super) fn lines(view: &View, width: u16, height: u16) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(width), usize::from(height));
    let sorted = view.sorted();
    let chosen = view.chosen_row(&sorted);
    // Title, headings, help.
    let body = height.saturating_sub(3);
    let details = match view.has_details {
        true => sorted.get(chosen).map(|source| details(source)).unwrap_or_default(),
        false => Vec::new(),
    };
    let for_details = details.len().min(body / 2);
    let for_rows = body.saturating_sub(for_details);
    // The chosen row is always to be seen.
    let first = (chosen + 1).saturating_sub(for_rows);
    let mut lines = vec![title(view), headings(view, width)];
    for (at, source) in sorted.iter().enumerate().skip(first).take(for_rows) {
        lines.push(row(view, source, width, at == chosen));
    }
    lines.truncate(height.saturating_sub(1 + for_details));
    while lines.len() + for_details + 1 < height {
        lines.push(Line::default());
    }
    lines.extend(details.into_iter().take(for_details));
    lines.push(Line::styled(HELP, Style::new().add_modifier(Modifier::DIM)));
    lines.truncate(height);
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// The same without a screen: everything, in its order, without colours.
pub(super) fn plain(view: &View, width: u16) -> String {
    let width = usize::from(width);
    let mut lines = vec![title(view), headings(view, width)];
    let sorted = view.sorted();
    lines.extend(sorted.iter().map(|source| row(view, source, width, false)));
    for source in sorted {
        lines.extend(details(source));
    }
    let text = lines
        .into_iter()
        .map(|line| line.to_string().trim_end().to_owned() + "\n");
    text.collect()
}

fn title(view: &View) -> Line<'static> {
    if let Some(trouble) = &view.trouble {
        return Line::styled(
            format!("{}; trying again", printable(trouble)),
            Style::new().fg(Color::Red),
        );
    }
    let state = if view.is_still { "  stopped" } else { "" };
    let order = if view.is_reversed { ", reversed" } else { "" };
    let count = view.current.sources.len();
    let text = format!(
        "weir {} at {}: {count} source{}, {} clients, by {}{order}{state}",
        printable(&view.current.version),
        printable(&view.endpoint),
        if count == 1 { "" } else { "s" },
        view.current.clients,
        view.sort.word(),
    );
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

/// Right-aligned columns behind the name: heading, what it is about, width.
const COLUMNS: [(&str, Column, usize); 10] = [
    ("CLNT", Column::Clients, 5),
    ("WAIT", Column::Waiting, 5),
    ("ACT", Column::Active, 5),
    ("IDLE", Column::Idle, 5),
    ("PIN", Column::Pinned, 4),
    ("OPEN", Column::Open, 8),
    ("TPS", Column::Tps, 7),
    ("W95", Column::Wait, 6),
    ("Q50", Column::Query, 6),
    ("Q95", Column::Query, 6),
];

/// What is left of a line for the name.
fn name_width(width: usize) -> usize {
    let taken: usize = COLUMNS.iter().map(|(.., width)| width).sum();
    width.saturating_sub(taken).max(8)
}

fn headings(view: &View, width: usize) -> Line<'static> {
    let style = Style::new().add_modifier(Modifier::UNDERLINED);
    let sorted = |column: Column| match column == view.sort {
        true => style.add_modifier(Modifier::BOLD),
        false => style,
    };
    let mut spans = vec![Span::styled(left("SOURCE", name_width(width)), sorted(Column::Name))];
    spans.extend(
        COLUMNS
            .iter()
            .map(|(name, column, width)| Span::styled(format!("{name:>width$}"), sorted(*column))),
    );
    Line::from(spans)
}

fn row(view: &View, source: &Source, width: usize, is_chosen: bool) -> Line<'static> {
    let base = match is_chosen {
        true => Style::new().add_modifier(Modifier::REVERSED),
        false => Style::new(),
    };
    let name = match source.shown_state() {
        "running" => printable(&source.name),
        state => format!("{} ({})", printable(&source.name), printable(state)),
    };
    let name_style = if source.is_well() { base } else { base.fg(Color::Red) };
    let mut spans = vec![Span::styled(left(&name, name_width(width)), name_style)];
    for ((.., width), (text, style)) in COLUMNS.iter().zip(cells(view, source, base)) {
        spans.push(Span::styled(format!("{text:>width$}"), style));
    }
    Line::from(spans)
}

/// In the order of [`COLUMNS`].
fn cells(view: &View, source: &Source, base: Style) -> [(String, Style); 10] {
    let (open, limit) = (source.open(), source.sum(|pool| pool.limit));
    let pinned = source.sum(|pool| pool.pinned);
    let warn = |when: bool| if when { base.fg(Color::Yellow) } else { base };
    let rate = view.rate(source).map_or("-".to_owned(), rate);
    [
        (source.clients.to_string(), base),
        (source.waiting.to_string(), warn(source.waiting > 0)),
        (source.sum(|pool| pool.active).to_string(), base),
        (source.sum(|pool| pool.idle).to_string(), base),
        (pinned.to_string(), warn(pinned > 0)),
        (
            format!("{open}/{limit}"),
            warn(limit > 0 && open >= limit && source.waiting > 0),
        ),
        (rate, base),
        (duration(source.worst(|pool| pool.wait.p95)), base),
        (duration(source.worst(|pool| pool.query.p50)), base),
        (duration(source.worst(|pool| pool.query.p95)), base),
    ]
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate if rate < 100_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1000.0),
    }
}

/// Why a source is not well, who keeps its connections, who waits for them.
fn details(source: &Source) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let name = printable(&source.name);
    if let Some(reason) = &source.reason {
        lines.push(Line::styled(
            format!("{name}: {}", printable(reason)),
            Style::new().fg(Color::Red),
        ));
    }
    if let Some(pool) = source.pools.iter().find(|_| source.waiting > 0) {
        let text = format!(
            "{name}: limit {} (set in {})",
            pool.limit,
            printable(&pool.limit_set_in)
        );
        lines.push(Line::from(text));
    }
    for pin in &source.pins {
        let statement = match pin.statement.as_str() {
            "" => String::new(),
            statement => format!(": {}", printable(statement)),
        };
        let text = format!(
            "{name} pinned {} by {}, {}{statement}",
            duration(pin.seconds),
            who(pin),
            printable(&pin.reason)
        );
        lines.push(Line::from(text));
    }
    for wait in &source.waits {
        lines.push(Line::from(format!(
            "{name} waiting {} {}",
            duration(wait.seconds),
            who(wait)
        )));
    }
    lines
}

fn who(holder: &Holder) -> String {
    let application = match holder.application.as_str() {
        "" => String::new(),
        name => format!(" ({})", printable(name)),
    };
    format!(
        "{} {}{application} #{}",
        printable(&holder.user),
        printable(&holder.address),
        holder.client
    )
}

/// As wide as this, with a sign where something is missing.
fn left(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{kept}~ ")
}

fn cut(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut room = width;
    let mut spans = Vec::new();
    for span in line.spans {
        let content: String = span.content.chars().take(room).collect();
        room -= content.chars().count();
        spans.push(Span::styled(content, span.style));
    }
    Line::from(spans).style(line.style)
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend, widgets::Paragraph};

    use super::super::super::stats::{Percentiles, Pool};
    use super::*;

    fn source(name: &str, waiting: u64, transactions: u64) -> Source {
        Source {
            name: name.to_owned(),
            kind: "postgres".to_owned(),
            state: "running".to_owned(),
            clients: 220,
            waiting,
            transactions,
            pools: vec![Pool {
                limit: 20,
                limit_set_in: "databases/databases.yaml:9:9".to_owned(),
                open: 20,
                idle: 2,
                active: 17,
                pinned: 1,
                wait: Percentiles {
                    count: 9,
                    p50: 0.001,
                    p95: 0.012,
                    p99: 0.1,
                },
                query: Percentiles {
                    count: 99,
                    p50: 0.000_4,
                    p95: 0.0321,
                    p99: 1.5,
                },
                ..Pool::default()
            }],
            ..Source::default()
        }
    }

    fn two_looks() -> View {
        let pin = Holder {
            client: 17,
            user: "etl".to_owned(),
            address: "10.0.0.9:51234".to_owned(),
            application: "loader".to_owned(),
            seconds: 42.0,
            reason: "temporary table".to_owned(),
            statement: "CREATE TEMP TABLE stage\u{1b}[2J".to_owned(),
        };
        let wait = Holder {
            client: 18,
            user: "app".to_owned(),
            address: "10.0.0.7:4000".to_owned(),
            seconds: 0.25,
            ..Holder::default()
        };
        let first = Snapshot {
            version: "0.1.0".to_owned(),
            clients: 440,
            sources: vec![source("orders", 0, 1000), source("ledger", 0, 10)],
        };
        let mut ledger = source("ledger", 3, 12);
        (ledger.pins, ledger.waits) = (vec![pin], vec![wait]);
        let broken = Source {
            name: "a_source_with_a_name_that_is_longer".to_owned(),
            state: "inconsistent".to_owned(),
            reason: Some("environment variable 'X' not set".to_owned()),
            ..Source::default()
        };
        let second = Snapshot {
            sources: vec![source("orders", 0, 6000), ledger, broken],
            ..first.clone()
        };
        let mut view = View::new("http://localhost:8080".to_owned(), Column::Waiting, first);
        view.advance(second, Duration::from_secs(2));
        view
    }

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| frame.render_widget(Paragraph::new(lines(view, width, height)), frame.area()))
            .unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content.chunks(usize::from(width));
        let rows = rows.map(|row| {
            row.iter()
                .map(|cell| cell.symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_screen_of_eighty_columns() {
        let wanted = "\
weir 0.1.0 at http://localhost:8080: 3 sources, 440 clients, by waiting
SOURCE                  CLNT WAIT  ACT IDLE PIN    OPEN    TPS   W95   Q50   Q95
ledger                   220    3   17    2   1   20/20    1.0  12ms 400us  32ms
a_source_with_a_name_~     0    0    0    0   0     0/0      -     -     -     -
orders                   220    0   17    2   1   20/20   2500  12ms 400us  32ms

ledger: limit 20 (set in databases/databases.yaml:9:9)
ledger pinned 42s by etl 10.0.0.9:51234 (loader) #17, temporary table: CREATE TE
ledger waiting 250ms app 10.0.0.7:4000 #18
q leave  s/S sort  r reverse  up/down choose  p pins and waits  space stop";
        assert_eq!(screen(&two_looks(), 80, 10), wanted);
    }

    #[test]
    fn the_chosen_source_is_seen_and_told_about() {
        let mut view = two_looks();
        view.choose(1);
        assert!(
            screen(&view, 80, 10).contains("a_source_with_a_name_that_is_longer: environment variable 'X' not set")
        );
        view.choose(9);
        let small = screen(&view, 80, 5);
        assert!(small.contains("orders") && !small.contains("\nledger "), "{small}");
        view.choose(-9);
        assert!(screen(&view, 80, 10).contains("ledger pinned"));
    }

    #[test]
    fn sorting_goes_by_the_column_and_then_by_name() {
        let mut view = two_looks();
        let order = |view: &View| {
            view.sorted()
                .iter()
                .map(|source| source.name.chars().next().unwrap())
                .collect::<String>()
        };
        assert_eq!(order(&view), "lao");
        view.sort = Column::Tps;
        assert_eq!(order(&view), "ola");
        view.is_reversed = true;
        assert_eq!(order(&view), "alo");
        view.sort = Column::Name;
        assert_eq!(order(&view), "ola");
    }

    #[test]
    fn no_size_is_too_small_and_no_text_steers_the_terminal() {
        let view = two_looks();
        for (width, height) in [(1, 1), (5, 2), (20, 3), (40, 200), (300, 4)] {
            let shown = screen(&view, width, height);
            assert!(!shown.contains('\u{1b}'));
        }
        assert!(!plain(&view, 120).contains('\u{1b}'));
    }

    #[test]
    fn a_gateway_that_started_anew_has_no_rate_yet() {
        let mut view = two_looks();
        view.advance(
            Snapshot {
                sources: vec![source("orders", 0, 5)],
                ..Snapshot::default()
            },
            Duration::from_secs(1),
        );
        assert_eq!(view.rate(&view.current.sources[0]), None);
    }

    #[test]
    fn what_went_wrong_with_the_last_look_is_on_top() {
        let mut view = two_looks();
        view.trouble = Some("cannot reach http://localhost:8080: Connection refused".to_owned());
        assert!(
            screen(&view, 80, 10).starts_with("cannot reach http://localhost:8080: Connection refused; trying again\n")
        );
        view.advance(Snapshot::default(), Duration::from_secs(1));
        assert!(screen(&view, 80, 10).starts_with("weir "));
    }

    #[test]
    fn without_a_terminal_everything_is_there_once() {
        let text = plain(&two_looks(), 120);
        for wanted in [
            "ledger pinned 42s",
            "environment variable 'X' not set",
            "orders",
            "2500",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("q leave"));
    }
}
