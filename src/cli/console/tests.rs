//! What is on the screen, or in the file, after a run.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::screen::Screen;
use super::*;
use crate::api::BuildRunStatus;
use crate::view::run::Place;

/// What a console has written so far.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<u8>>>);

impl Recorder {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static SIZE: Cell<Size> = const { Cell::new(Size { width: 80, height: 24 }) };
}

const TERMINAL: Manner = Manner {
    output: Output { terminal: true, colour: true },
    live: true,
    size: || SIZE.with(Cell::get),
};
const FILE: Manner =
    Manner { output: Output { terminal: false, colour: false }, live: false, ..TERMINAL };

/// Tenths of a second after the start of the pod.
fn at(tenths: i64) -> Timestamp {
    "2026-01-02T03:04:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_millis(tenths * 100)
}

fn ended(code: i32, start: i64, end: i64) -> Value {
    json!({ "terminated": { "exitCode": code, "startedAt": at(start).to_string(), "finishedAt": at(end).to_string() } })
}

fn running(start: i64) -> Value {
    json!({ "running": { "startedAt": at(start).to_string() } })
}

fn waiting() -> Value {
    json!({ "waiting": { "reason": "ContainerCreating" } })
}

/// A pod whose steps are in these states.
fn pod(steps: &[(&str, Value)]) -> Pod {
    let spec = |name: &str| json!({ "name": name, "image": format!("example.com/{name}"), "securityContext": { "runAsUser": 1001, "runAsGroup": 1000 } });
    let status = |(name, state): &(&str, Value)| json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    serde_json::from_value(json!({
        "metadata": { "creationTimestamp": at(0).to_string() },
        "spec": { "containers": steps.iter().map(|(name, _)| spec(name)).collect::<Vec<_>>() },
        "status": { "containerStatuses": steps.iter().map(status).collect::<Vec<_>>() },
    }))
    .unwrap()
}

fn three(states: [Value; 3]) -> Pod {
    let [source, build, image] = states;
    pod(&[("step-source-default", source), ("step-build", build), ("step-image-processing", image)])
}

fn news(pod: Pod) -> Happening {
    Happening::Pod(Box::new(pod))
}

fn line(step: &str, text: &str) -> Happening {
    Happening::Line { container: format!("step-{step}"), text: text.into(), room: None }
}

fn pulling(step: &str, done: u64) -> Happening {
    Happening::Pulling {
        image: format!("example.com/step-{step}"),
        done: done << 20,
        total: 40 << 20,
    }
}

fn pulled(step: &str) -> Happening {
    Happening::Pulled { image: format!("example.com/step-{step}") }
}

fn built() -> BuildRunStatus {
    serde_json::from_value(json!({
        "conditions": [{ "type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "All Steps have completed executing", "lastTransitionTime": at(99).to_string() }],
        "startTime": at(0).to_string(),
        "completionTime": at(99).to_string(),
        "output": { "digest": format!("sha256:{}", "0a".repeat(32)), "size": 12_897_485 },
        "source": { "git": { "commitSha": "abc", "branchName": "main" } },
    }))
    .unwrap()
}

fn finish(mut console: Console<Recorder>) {
    let status = built();
    console.finish_at(
        &Ending {
            status: &status,
            pod: &Pod::default(),
            image: "example.com/app:1",
            place: Place::Here { loaded: false, kept: None },
        },
        at(99),
    );
}

/// A whole run, as it is told.
fn run() -> Vec<(Happening, i64)> {
    let all = |first, second, third| news(three([first, second, third]));
    vec![
        (Happening::Note("ServiceAccount default is assumed".into()), 0),
        (pulling("build", 12), 1),
        (pulling("build", 30), 3),
        (pulled("build"), 9),
        (all(running(10), waiting(), waiting()), 10),
        (line("source-default", "cloning"), 11),
        (all(ended(0, 10, 20), running(10), running(10)), 20),
        (line("build", "compiling"), 21),
        (line("build", "compiled"), 40),
        (all(ended(0, 10, 20), ended(0, 10, 63), running(10)), 63),
        (line("image-processing", "pushed"), 70),
        (all(ended(0, 10, 20), ended(0, 10, 63), ended(0, 10, 70)), 70),
    ]
}

#[test]
fn a_terminal_shows_the_log_and_the_table_and_nothing_else() {
    let recorder = Recorder::default();
    let mut screen = Screen::new(80, 24);
    let mut console =
        Console::new(&three([waiting(), waiting(), waiting()]), recorder.clone(), TERMINAL);
    let mut seen = Vec::new();
    for (happening, tenths) in run() {
        console.tell_at(happening, at(tenths));
        for later in 0..3 {
            console.draw(at(tenths + later));
        }
        screen.feed(&recorder.take());
        seen.push(screen.text());
    }
    let live = |text: &str| seen.iter().any(|screen| screen.ends_with(text));
    for text in [
        "source-default    waiting\nbuild             pulling 12/40 MiB\nimage-processing  waiting",
        "source-default    running 0.2 s\nbuild             waiting\nimage-processing  waiting",
        "cloning\nsource-default    done 1.0 s\nbuild             running 0.2 s\nimage-processing  waiting",
        "compiled\nsource-default    done 1.0 s\nbuild             done 4.3 s\nimage-processing  running 0.2 s",
    ] {
        assert!(live(text), "{text}\nis in none of\n{}", seen.join("\n----\n"));
    }
    finish(console);
    screen.feed(&recorder.take());
    insta::assert_snapshot!(screen.text(), @r"
    note: ServiceAccount default is assumed
    pulled example.com/step-build in 0.8 s
    [source-default]   cloning
    [build]            compiling
    [build]            compiled
    [image-processing] pushed

    STEP              IDENTITY   WAITED  RAN    RESULT
    source-default    1001:1000  1.0 s   1.0 s  done
    build             1001:1000  2.0 s   4.3 s  done
    image-processing  1001:1000  6.3 s   0.7 s  done

    built example.com/app:1 in 9.9 s
      source  commit abc, branch main
      digest  sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0
    a
      size    12.3 MiB (12897485 bytes)
    ");
}

#[test]
fn a_file_gets_one_line_for_each_start_and_end() {
    let recorder = Recorder::default();
    let mut console =
        Console::new(&three([waiting(), waiting(), waiting()]), recorder.clone(), FILE);
    for (happening, tenths) in run() {
        console.tell_at(happening, at(tenths));
    }
    finish(console);
    insta::assert_snapshot!(String::from_utf8(recorder.take()).unwrap(), @r"
    note: ServiceAccount default is assumed
    pulling example.com/step-build
    pulled example.com/step-build in 0.8 s
    source-default: started
    [source-default]   cloning
    source-default: done in 1.0 s
    build: started
    [build]            compiling
    [build]            compiled
    build: done in 4.3 s
    image-processing: started
    [image-processing] pushed
    image-processing: done in 0.7 s

    STEP              IDENTITY   WAITED  RAN    RESULT
    source-default    1001:1000  1.0 s   1.0 s  done
    build             1001:1000  2.0 s   4.3 s  done
    image-processing  1001:1000  6.3 s   0.7 s  done

    built example.com/app:1 in 9.9 s
      source  commit abc, branch main
      digest  sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
      size    12.3 MiB (12897485 bytes)
    ");
}

/// Draws after every piece of news, so that each must find its way back.
fn shown(width: usize, height: usize, steps: usize) -> (Screen, Recorder, Console<Recorder>) {
    SIZE.with(|size| size.set(Size { width, height }));
    let names: Vec<_> = (0..steps).map(|step| format!("step-number-{step}")).collect();
    let of = |done: usize| -> Pod {
        let state = |at: usize| match at {
            at if at < done => ended(0, 0, 1),
            at if at == done => running(0),
            _ => waiting(),
        };
        let states: Vec<_> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), state(at))).collect();
        pod(&states)
    };
    let recorder = Recorder::default();
    let mut screen = Screen::new(width, height);
    let mut console = Console::new(&of(0), recorder.clone(), TERMINAL);
    for done in 0..=steps {
        let now = 10 * i64::try_from(done).unwrap();
        console.tell_at(news(of(done)), at(now));
        console.tell_at(line(&format!("number-{done}"), &format!("text {done}")), at(now + 2));
        screen.feed(&recorder.take());
    }
    (screen, recorder, console)
}

#[test]
fn any_size_and_any_number_of_steps_leave_nothing_behind() {
    for (width, height, steps) in [
        (80, 24, 0),
        (80, 24, 1),
        (80, 24, 60),
        (20, 24, 3),
        (20, 5, 60),
        (1, 1, 3),
        (30, 2, 3),
        (30, 3, 5),
        (5, 24, 3),
    ] {
        let (mut screen, recorder, console) = shown(width, height, steps);
        drop(console);
        screen.feed(&recorder.take());
        let mut bare = Screen::new(width, height);
        for done in 0..=steps {
            let container = format!("step-number-{done}");
            bare.feed(&of_steps(steps).line(&container, format!("text {done}").as_bytes()));
        }
        assert_eq!(screen.text(), bare.text(), "{width}x{height}, {steps} steps");
    }
}

/// How the log of a pod with so many steps is printed.
fn of_steps(steps: usize) -> Log {
    let names: Vec<_> = (0..steps).map(|step| format!("step-number-{step}")).collect();
    let states: Vec<_> = names.iter().map(|name| (name.as_str(), waiting())).collect();
    Log::of(&pod(&states), TERMINAL.output)
}

#[test]
fn a_terminal_that_becomes_narrower_keeps_no_live_line() {
    let (mut screen, recorder, mut console) = shown(80, 24, 3);
    SIZE.with(|size| size.set(Size { width: 12, height: 24 }));
    screen.narrow(12);
    console.draw(at(90));
    drop(console);
    screen.feed(&recorder.take());
    assert!(!screen.text().contains("done"), "{}", screen.text());
    for text in ["text 0", "text 3"] {
        assert!(screen.text().replace('\n', "").contains(text), "{}", screen.text());
    }
}

#[test]
fn hostile_lines_neither_move_the_cursor_nor_ring() {
    let recorder = Recorder::default();
    let mut screen = Screen::new(80, 24);
    let mut console =
        Console::new(&three([running(0), waiting(), waiting()]), recorder.clone(), TERMINAL);
    let hostile: [&[u8]; 8] = [
        b"\x1b[2J\x1b[Hgone?",
        b"\x1b[5A\x1b[Jover",
        b"\x1b]0;title\x07bell\x07",
        b"\x1b[?1049h\x1b[?25lhidden",
        b"\xff\xfe\x1b[31mred",
        b"1%\r2%\r3%",
        b"back\x08\x08\x08\x08gone",
        b"\xc2\x9b2Jc1",
    ];
    for (place, text) in hostile.iter().enumerate() {
        let happening =
            Happening::Line { container: "step-build".into(), text: text.to_vec(), room: None };
        console.tell_at(happening, at(2 * i64::try_from(place).unwrap()));
    }
    console.tell_at(Happening::Note("a\u{1b}[2Jb\nc".into()), at(50));
    console.tell_at(Happening::Pulled { image: "x\u{1b}[1A".into() }, at(60));
    drop(console);
    // The screen fails on all else that a terminal obeys.
    screen.feed(&recorder.take());
    insta::assert_snapshot!(screen.text(), @r"
    [build]            gone?
    [build]            over
    [build]            ^[]0;title^Gbell^G
    [build]            hidden
    [build]            ��red
    [build]            3%
    [build]            back^H^H^H^Hgone
    [build]            �2Jc1
    note: ab
    note: c
    pulled x
    ");
}

#[test]
fn an_overlong_line_is_whole() {
    let recorder = Recorder::default();
    let mut screen = Screen::new(80, 24);
    let mut console =
        Console::new(&three([running(0), waiting(), waiting()]), recorder.clone(), TERMINAL);
    let long = "x".repeat(200_000);
    console.tell_at(line("build", "before"), at(0));
    console.tell_at(line("build", &long), at(0));
    console.tell_at(line("build", "after"), at(9));
    drop(console);
    screen.feed(&recorder.take());
    assert_eq!(screen.text().matches('x').count(), long.len());
    assert!(screen.text().ends_with("[build]            after"));
}

#[test]
fn a_busy_log_is_not_drawn_line_by_line() {
    let recorder = Recorder::default();
    let mut console =
        Console::new(&three([running(0), waiting(), waiting()]), recorder.clone(), TERMINAL);
    for _ in 0..1000 {
        console.tell_at(line("build", "busy"), at(0));
    }
    console.tell_at(line("build", "last"), at(1));
    let text = String::from_utf8(recorder.take()).unwrap();
    assert_eq!(text.matches("busy").count(), 1000);
    assert_eq!(text.matches("\u{1b}[J").count(), 1, "drawn once more than the first time");
}

#[test]
fn nothing_is_written_where_nothing_changes() {
    let recorder = Recorder::default();
    let mut console =
        Console::new(&three([waiting(), waiting(), waiting()]), recorder.clone(), TERMINAL);
    console.draw(at(0));
    assert!(!recorder.take().is_empty());
    console.draw(at(10));
    assert_eq!(recorder.take(), b"");
}

/// Tells when something is written.
#[derive(Debug)]
struct Telling(tokio::sync::mpsc::UnboundedSender<Vec<u8>>);

impl Write for Telling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn lines_come_without_further_news_and_the_console_comes_back() {
    let (written, mut screen) = tokio::sync::mpsc::unbounded_channel();
    let (tell, news) = tokio::sync::mpsc::unbounded_channel();
    let pod = three([running(0), waiting(), waiting()]);
    let shown = show(Console::new(&pod, Telling(written), TERMINAL), news);
    tell.send(line("build", "first")).unwrap();
    tell.send(line("build", "second")).unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("second") {
        text.extend(screen.recv().await.expect("the second line is written by and by"));
    }
    tell.send(line("build", "third")).unwrap();
    drop(tell);
    let console = shown.await.unwrap();
    drop(console);
    while let Some(more) = screen.recv().await {
        text.extend(more);
    }
    let mut screen = Screen::new(80, 24);
    screen.feed(&text);
    insta::assert_snapshot!(screen.text(), @r"
    [build]            first
    [build]            second
    [build]            third
    ");
}

#[test]
fn an_image_that_was_here_after_all_is_not_pulled_for_ever() {
    let recorder = Recorder::default();
    let mut screen = Screen::new(80, 24);
    let mut console =
        Console::new(&three([waiting(), waiting(), waiting()]), recorder.clone(), TERMINAL);
    console.tell_at(Happening::Pulling { image: "sandbox".into(), done: 0, total: 0 }, at(0));
    screen.feed(&recorder.take());
    assert!(screen.text().ends_with("sandbox           pulling"), "{}", screen.text());
    let mut pod = three([running(0), waiting(), waiting()]);
    pod.status.as_mut().unwrap().phase = Some("Running".into());
    console.tell_at(news(pod), at(10));
    screen.feed(&recorder.take());
    assert!(screen.text().ends_with("image-processing  waiting"), "{}", screen.text());
}

/// A reader that has gone away.
#[derive(Debug)]
struct Gone(usize);

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_written_to_once() {
    for manner in [TERMINAL, FILE] {
        let mut console = Console::new(&three([waiting(), waiting(), waiting()]), Gone(0), manner);
        console.tell_at(line("build", "a"), at(0));
        console.tell_at(line("build", "b"), at(9));
        assert_eq!(console.out.0, 1);
    }
}

#[test]
fn the_environment_chooses_colours_and_live_lines() {
    for (terminal, variables, colour, live) in [
        (true, &[("TERM", "xterm")][..], true, true),
        (false, &[("TERM", "xterm")], false, false),
        (true, &[], false, false),
        (true, &[("TERM", "dumb")], false, false),
        (true, &[("TERM", "xterm"), ("NO_COLOR", "1")], false, true),
        (true, &[("TERM", "xterm"), ("NO_COLOR", "")], true, true),
        (true, &[("TERM", "xterm"), ("CLICOLOR", "0")], false, true),
        (false, &[("CLICOLOR_FORCE", "1")], true, false),
        (false, &[("CLICOLOR_FORCE", "0")], false, false),
        (true, &[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true, false),
        (true, &[("TERM", "xterm"), ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false, true),
    ] {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let manner = Manner::chosen(terminal, variable);
        assert_eq!((manner.output.colour, manner.live), (colour, live), "{terminal} {variables:?}");
        assert_eq!(manner.output.terminal, terminal);
    }
}
