//! Where a run's time went, as a picture: a row of bars a node, a bar a step. Without I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kubezt_engine::journal::Entry;
use kubezt_model::event::{Event, StepResult};

/// Pixels: the whole width, that of the nodes' names, a row's height, and what is above the first row.
const WIDTH: f64 = 1200.0;
const NAMES: f64 = 130.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 28.0;
/// Pixels one letter of a bar's text takes.
const LETTER: f64 = 6.2;
/// Most lines of the time axis.
const LINES: i64 = 12;

/// One step that ran.
struct Bar {
    title: String,
    begin: i64,
    end: i64,
    colour: &'static str,
    result: String,
}

/// The picture, as SVG 1.1; steps that never ended reach to the last entry.
pub fn svg(entries: &[Entry]) -> String {
    let first = entries.first().map_or(0, |entry| entry.at);
    let last = entries.last().map_or(0, |entry| entry.at).max(first + 1);
    let scale = (WIDTH - NAMES) / (last - first) as f64;
    let x = |at: i64| NAMES + (at - first) as f64 * scale;
    let mut body = String::new();
    let mut y = HEAD;
    for (node, bars) in &lanes(entries, last) {
        let top = y;
        for row in rows(bars) {
            for bar in row {
                let (left, width) = (x(bar.begin), (x(bar.end) - x(bar.begin)).max(1.0));
                let seconds = seconds(bar.end - bar.begin);
                let _ = write!(
                    body,
                    "<g><title>{node}: {title}, {seconds}, {result}</title>\
                     <rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\" fill=\"{colour}\"/>",
                    node = escaped(node),
                    title = escaped(&bar.title),
                    result = escaped(&bar.result),
                    height = ROW - 3.0,
                    colour = bar.colour,
                );
                let fits = (width / LETTER) as usize;
                if bar.title.chars().count() <= fits {
                    let (left, base, title) = (left + 3.0, y + 11.5, escaped(&bar.title));
                    let _ = write!(body, "<text x=\"{left:.1}\" y=\"{base:.1}\">{title}</text>");
                }
                body.push_str("</g>\n");
            }
            y += ROW;
        }
        let (base, node) = (top + 11.5, escaped(node));
        let _ = writeln!(body, "<text x=\"4\" y=\"{base:.1}\" font-weight=\"bold\">{node}</text>");
        let _ = writeln!(body, "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#ccc\"/>");
        y += 4.0;
    }
    let mut axis = String::new();
    let step = ((last - first) / LINES / 1000 + 1) * 1000;
    for at in (first..=last).step_by(usize::try_from(step).unwrap_or(1000)) {
        let (left, label) = (x(at), seconds(at - first));
        let _ = writeln!(axis, "<path d=\"M{left:.1} {HEAD}V{y:.1}\" stroke=\"#eee\"/>");
        let _ = writeln!(axis, "<text x=\"{left:.1}\" y=\"18\" fill=\"#666\">{label}</text>");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{axis}{body}</svg>\n"
    )
}

/// The steps of each node, and of the cluster as a whole, in the order they began.
fn lanes(entries: &[Entry], last: i64) -> BTreeMap<String, Vec<Bar>> {
    let mut lanes: BTreeMap<String, Vec<Bar>> = BTreeMap::new();
    let mut running = BTreeMap::new();
    let lane = |node: &Option<kubezt_model::NodeName>| {
        node.as_ref().map_or_else(|| "cluster".to_owned(), ToString::to_string)
    };
    for entry in entries {
        match &entry.event {
            Event::StepStarted { step, node, title } => {
                running.insert(step.clone(), (lane(node), title.clone(), entry.at));
            }
            Event::StepFinished { step, result, .. } => {
                let Some((lane, title, begin)) = running.remove(step) else { continue };
                let (colour, result) = judged(result);
                lanes.entry(lane).or_default().push(Bar { title, begin, end: entry.at, colour, result });
            }
            _ => {}
        }
    }
    for (lane, title, begin) in running.into_values() {
        let result = "did not end".to_owned();
        lanes.entry(lane).or_default().push(Bar { title, begin, end: last, colour: "#e57373", result });
    }
    lanes.values_mut().for_each(|bars| bars.sort_by_key(|bar| (bar.begin, bar.end)));
    lanes
}

fn judged(result: &StepResult) -> (&'static str, String) {
    match result {
        StepResult::Changed(count) => ("#90caf9", format!("{count} changes")),
        StepResult::Unchanged => ("#cfd8dc", "as wanted".to_owned()),
        StepResult::Failed(why) => ("#e57373", format!("failed: {why}")),
        StepResult::Skipped(cause) => ("#ffe082", format!("not run, {cause} failed")),
    }
}

/// Bars that overlap stand below each other.
fn rows(bars: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut rows: Vec<Vec<&Bar>> = Vec::new();
    for bar in bars {
        let free = rows.iter_mut().find(|row| row.last().is_none_or(|before| before.end <= bar.begin));
        match free {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

fn seconds(milliseconds: i64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

fn escaped(text: &str) -> String {
    let allowed = text.chars().filter(|character| !character.is_control());
    allowed.fold(String::new(), |mut escaped, character| {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use kubezt_model::plan::StepId;

    use super::*;

    fn entry(at: i64, event: Event) -> Entry {
        Entry { at, event }
    }

    fn started(at: i64, what: &str) -> Entry {
        let node = Some("w1".parse().unwrap());
        entry(at, Event::StepStarted { step: StepId::cluster(what), node, title: format!("Do <{what}>") })
    }

    fn finished(at: i64, what: &str, result: StepResult) -> Entry {
        let (step, node) = (StepId::cluster(what), Some("w1".parse().unwrap()));
        entry(at, Event::StepFinished { step, node, result, milliseconds: 0 })
    }

    #[test]
    fn steps_side_by_side_stand_below_each_other_and_names_are_escaped() {
        let entries = [
            started(0, "a"),
            started(500, "b"),
            finished(1000, "a", StepResult::Changed(1)),
            finished(1500, "b", StepResult::Failed("no & never".to_owned())),
            started(1500, "c"),
            entry(4000, Event::RunFinished { changed: 1, failed: 1, skipped: 0, milliseconds: 4000 }),
        ];
        let lanes = lanes(&entries, 4000);
        let rows = rows(&lanes["w1"]);
        let titles = |row: &[&Bar]| row.iter().map(|bar| bar.title.clone()).collect::<Vec<_>>();
        assert_eq!(
            rows.iter().map(|row| titles(row)).collect::<Vec<_>>(),
            [vec!["Do <a>".to_owned(), "Do <c>".to_owned()], vec!["Do <b>".to_owned()],]
        );
        let picture = svg(&entries);
        assert!(
            picture.contains("<title>w1: Do &lt;b&gt;, 1.0 s, failed: no &amp; never</title>"),
            "{picture}"
        );
        assert!(picture.contains("Do &lt;c&gt;, 2.5 s, did not end"), "{picture}");
        assert!(!picture.contains("Do <"), "{picture}");
        svg(&[]);
    }
}
