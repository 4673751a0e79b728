//! Characters that take their time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mtty::line::{CrossoverPlug, Paced};

use super::*;

/// One character of 10 bits at 9600 baud.
const AT_9600: Duration = Duration::from_nanos(10 * 1_000_000_000 / 9600);
/// What a timer may be short by: the time that has gone by since it was started.
const GONE: Duration = Duration::from_millis(900);

fn paced(line: Box<dyn Line>) -> Box<dyn Line> {
    Box::new(Paced::new(line))
}

fn at(divisor: u16, far: &Far) -> Harness {
    let mut card = card(vec![paced(far.boxed())]);
    set_divisor(&mut card, 0, divisor, WLS_8);
    store(&mut card, 0, FCR, 0x01);
    card
}

#[test]
fn each_character_leaves_a_character_time_after_the_one_before() {
    let far = Far::new();
    let mut card = at(12, &far);
    (0..5).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!((far.sent(), load(&mut card, 0, LSR)), (vec![0], 0), "THRE is off");
    for sent in 2..=5 {
        let away = card.skip_to_timer().unwrap();
        assert!(away <= AT_9600 * sent, "the clock stands still for the test: {away:?}");
        assert_eq!(far.sent(), Vec::from_iter(0..sent as u8));
    }
    assert_eq!(load(&mut card, 0, LSR), THRE | TEMT);
    assert!(card.skip_to_timer().is_some(), "the last one has its time too");
    assert_eq!(card.skip_to_timer(), None);
}

#[test]
fn the_time_is_that_of_the_frame_and_the_divisor() {
    // Seconds long, so that what goes by in the test does not count.
    for (divisor, lcr, halves) in [(30000, 0x03, 20), (30000, 0x00, 14), (60000, 0x0f, 24)] {
        let far = Far::new();
        let mut card = at(divisor, &far);
        set_divisor(&mut card, 0, divisor, lcr);
        store(&mut card, 0, THR, 0x31);
        let due = card.device().next_timer().unwrap();
        let away = due - Instant::now();
        let whole = Duration::from_micros(u64::from(divisor) * halves * 1_000_000 / 2 / 115_200);
        assert!(
            away <= whole + Duration::from_micros(1) && away + GONE > whole,
            "{away:?} for {whole:?}"
        );
    }
}

#[test]
fn what_passes_in_a_millisecond_passes_together_and_takes_as_long_in_all() {
    let far = Far::new();
    let mut card = at(1, &far);
    (0..16).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!(far.sent().len(), 1);
    card.skip_to_timer();
    assert_eq!(far.sent().len(), 12, "11 frames of 10 bits at 115200 baud are 0.95 ms");
    card.skip_to_timer();
    assert_eq!(far.sent(), Vec::from_iter(0..16));
}

#[test]
fn a_late_timer_does_not_slow_it_down() {
    // Until the test itself is in time: what is far too late is not made up for.
    for _ in 0..50 {
        let far = Far::new();
        let mut card = at(12, &far);
        (0..3).for_each(|data| store(&mut card, 0, THR, data));
        let due = card.device().next_timer().unwrap();
        std::thread::sleep(AT_9600 * 5);
        card.device().run_timers(due);
        let (next, now) = (card.device().next_timer().unwrap(), Instant::now());
        assert_eq!(far.sent(), [0, 1]);
        if now - due < Duration::from_millis(80) {
            assert!(next <= now, "the next one is due already");
            return;
        }
    }
    panic!("this machine has no time");
}

#[test]
fn what_is_far_too_late_is_not_made_up_for() {
    let far = Far::new();
    let mut card = at(12, &far);
    (0..3).for_each(|data| store(&mut card, 0, THR, data));
    let due = card.device().next_timer().unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let begin = Instant::now();
    card.device().run_timers(due);
    assert!(card.device().next_timer().unwrap() >= begin + AT_9600);
}

#[test]
fn a_pause_is_not_made_up_for() {
    let far = Far::new();
    let mut card = at(12, &far);
    store(&mut card, 0, THR, 0);
    assert!(card.skip_to_timer().is_some());
    assert_eq!(card.skip_to_timer(), None);
    std::thread::sleep(AT_9600 * 5);
    let begin = Instant::now();
    store(&mut card, 0, THR, 1);
    assert!(card.device().next_timer().unwrap() >= begin + AT_9600);
}

#[test]
fn what_arrives_is_received_at_the_same_rate() {
    let far = Far::new();
    let mut card = at(12, &far);
    far.arrive([1, 2, 3]);
    assert_eq!(load(&mut card, 0, RBR), 0);
    assert_eq!(drain(&mut card, 0), [1], "the next ones are not there yet");
    card.skip_to_timer();
    assert_eq!(drain(&mut card, 0), [2]);
    card.skip_to_timer();
    assert_eq!(drain(&mut card, 0), [3]);
}

#[test]
fn breaks_and_errors_keep_their_places() {
    let far = Far::new();
    let mut card = at(12, &far);
    store(&mut card, 0, THR, 0x31);
    store(&mut card, 0, LCR, WLS_8 | SET_BREAK);
    store(&mut card, 0, LCR, WLS_8);
    store(&mut card, 0, THR, 0x32);
    far.arrive([Character { data: 0x41, errors: PE }, Character { data: 0, errors: BI | FE }]);
    let mut seen = Vec::new();
    while card.skip_to_timer().is_some() {
        seen.push((load(&mut card, 0, LSR) & (DR | PE | FE | BI), load(&mut card, 0, RBR)));
    }
    seen.retain(|(lsr, _)| *lsr != 0);
    assert_eq!(seen, [(DR | PE, 0x41), (DR | FE | BI, 0)]);
    let sent: Vec<_> = far.with(|it| it.sent.iter().map(|it| (it.data, it.is_break())).collect());
    assert_eq!(sent, [(0x31, false), (0, true), (0x32, false)]);
}

#[test]
fn the_other_lines_host_is_its_own() {
    let far = Far::acting(|call, _, host| {
        if call == "start" {
            host.start_timer(0, Duration::ZERO);
        }
    });
    let mut card = card(vec![paced(far.boxed())]);
    store(&mut card, 0, THR, 0x31);
    while card.skip_to_timer().is_some() {}
    let calls = far.calls();
    assert_eq!(
        calls.iter().filter(|call| call.starts_with("timer")).collect::<Vec<_>>(),
        ["timer 0"]
    );
    assert_eq!(calls[..3], ["start", "115200 5N1", "settle"]);
}

#[test]
fn a_reset_in_the_middle_leaves_the_line_alive() {
    let far = Far::new();
    let mut card = at(12, &far);
    (0..5).for_each(|data| store(&mut card, 0, THR, data));
    card.reset();
    store(&mut card, 0, THR, 0x61);
    assert_eq!(far.sent(), [0], "the first still has its time");
    while card.skip_to_timer().is_some() {}
    assert_eq!(far.sent(), [0, 0x61]);
}

#[test]
fn the_plug_and_the_crossover_can_be_paced_too() {
    let lines: [fn() -> Box<dyn Line>; 2] = [plug, || Box::new(CrossoverPlug)];
    for (line, to) in lines.into_iter().zip([0, 1]) {
        let mut card = card(vec![paced(line()), paced(line())]);
        set_divisor(&mut card, 0, 12, WLS_8);
        for port in [0, 1] {
            store(&mut card, port, FCR, 0x01);
        }
        (0..3).for_each(|data| store(&mut card, 0, THR, data));
        assert_eq!(drain(&mut card, to), [0]);
        card.skip_to_timer();
        assert_eq!(drain(&mut card, to), [1]);
        card.skip_to_timer();
        assert_eq!(drain(&mut card, to), [2]);
    }
}

#[test]
fn a_switch_is_looked_at_with_each_character() {
    let far = Far::new();
    let switch = Arc::new(AtomicBool::new(false));
    let mut card = card(vec![Box::new(Paced::switched(far.boxed(), Arc::clone(&switch)))]);
    set_divisor(&mut card, 0, 12, WLS_8);
    store(&mut card, 0, FCR, 0x01);
    (0..5).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!(far.sent(), [0, 1, 2, 3, 4], "as if it were not there");
    switch.store(true, Ordering::Relaxed);
    (5..8).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!(far.sent(), [0, 1, 2, 3, 4, 5]);
    switch.store(false, Ordering::Relaxed);
    store(&mut card, 0, THR, 8);
    assert_eq!(far.sent(), Vec::from_iter(0..9), "and what was held up");
}

#[test]
fn what_was_set_up_before_it_was_paced_counts() {
    let (far, switch) = (Far::new(), Arc::new(AtomicBool::new(false)));
    let mut card = card(vec![Box::new(Paced::switched(far.boxed(), Arc::clone(&switch)))]);
    // Five seconds a character, so that what goes by in the test does not count.
    set_divisor(&mut card, 0, 60000, WLS_8);
    store(&mut card, 0, FCR, 0x01);
    switch.store(true, Ordering::Relaxed);
    (0..3).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!(far.sent(), [0], "at 115200 baud 11 pass together");
    let due = card.device().next_timer().unwrap();
    assert!(due > Instant::now() + Duration::from_secs(3), "10 bits at 1.92 baud");
}

#[test]
fn a_line_outruns_a_driver_only_while_it_is_not_paced() {
    let (far, switch) = (Far::new(), Arc::new(AtomicBool::new(false)));
    let line = Paced::switched(far.boxed(), Arc::clone(&switch));
    assert!(!line.outruns(), "this one does not");
    far.with(|it| it.outruns = true);
    assert!(line.outruns());
    switch.store(true, Ordering::Relaxed);
    assert!(!line.outruns());
    assert!(!Paced::new(far.boxed()).outruns());
}
