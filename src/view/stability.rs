//! Whether a picture has come to rest.

use std::time::{Duration, Instant};

use super::{Frame, Rect};

/// The largest cell of Linux's console fonts (TER16x32), in which a text cursor blinks.
const CELL: (u32, u32) = (16, 32);
/// A machine that is too busy to look has not seen rest: what moves looks still to who looks twice.
const LEAST_LOOKS: u32 = 5;

/// Watches for a picture that does not change, but for a text cursor: whatever happens within one text cell, as long as
/// it has two contents and no third.
pub struct Stability {
    needed: Duration,
    ignored: Vec<Rect>,
    /// What all since has been like, and since when.
    still: Option<(Frame, Instant)>,
    /// Its other content.
    other: Option<Frame>,
    /// How long that has been so, and how often it was looked at.
    rest: Duration,
    looks: u32,
    /// Where it last differed from what is no cursor.
    pub disturbed: Option<Rect>,
}

impl Stability {
    /// Asks for `needed` without a change outside of `ignored`.
    pub fn new(needed: Duration, ignored: Vec<Rect>) -> Self {
        Self {
            needed,
            ignored,
            still: None,
            other: None,
            rest: Duration::ZERO,
            looks: 0,
            disturbed: None,
        }
    }

    /// There is no picture now.
    pub fn lose(&mut self) {
        (self.still, self.other) = (None, None);
        (self.rest, self.looks) = (Duration::ZERO, 0);
    }

    /// Looks at the picture as it was at `now`.
    pub fn see(&mut self, frame: &Frame, now: Instant) {
        if let Some((still, since)) = &self.still {
            let change = frame.difference(still, &self.ignored);
            let is_calm = match (change, &self.other) {
                (None, _) => true,
                (Some(place), _) if frame.mode() != still.mode() || !fits(place) => false,
                (Some(_), Some(other)) => frame.difference(other, &self.ignored).is_none(),
                (Some(_), None) => {
                    self.other = Some(frame.clone());
                    true
                }
            };
            if is_calm {
                self.rest = now.saturating_duration_since(*since);
                self.looks += 1;
                return;
            }
            self.disturbed = change;
        }
        self.lose();
        self.still = Some((frame.clone(), now));
        self.looks = 1;
    }

    /// For how long it has been at rest.
    pub fn rest(&self) -> Duration {
        self.rest
    }

    /// Whether that is long enough, and was seen often enough.
    pub fn is_enough(&self) -> bool {
        self.rest >= self.needed && self.looks >= LEAST_LOOKS
    }
}

fn fits(place: Rect) -> bool {
    place.width <= CELL.0 && place.height <= CELL.1
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;

    const WHITE: u32 = 0x00ff_ffff;
    const RED: u32 = 0x00ff_0000;

    /// 64 x 64 pixels, black but for these.
    fn picture(rects: &[(&str, u32)]) -> Frame {
        let rects: Vec<(Rect, u32)> =
            rects.iter().map(|(rect, colour)| (rect.parse().unwrap(), *colour)).collect();
        let colour =
            |x, y| rects.iter().rfind(|(rect, _)| rect.contains(x, y)).map_or(0, |it| it.1);
        frame(64, 64, colour)
    }

    /// Milliseconds at rest after each of the pictures, which come every 100 ms.
    fn rests(ignored: &[&str], pictures: &[Frame]) -> Vec<u128> {
        let ignored = ignored.iter().map(|rect| rect.parse().unwrap()).collect();
        let mut stability = Stability::new(Duration::from_millis(300), ignored);
        let start = Instant::now();
        let times = (0..).map(|number| start + number * Duration::from_millis(100));
        let rest = |(time, frame)| {
            stability.see(frame, time);
            stability.rest().as_millis()
        };
        times.zip(pictures).map(rest).collect()
    }

    #[test]
    fn a_change_larger_than_a_cell_begins_anew() {
        let (empty, wide) = (picture(&[]), picture(&[("17x1+0+0", WHITE)]));
        let high = picture(&[("1x33+0+0", WHITE)]);
        for other in [wide, high] {
            let seen = [empty.clone(), empty.clone(), other.clone(), other.clone(), empty.clone()];
            assert_eq!(rests(&[], &seen), [0, 100, 0, 100, 0]);
        }
    }

    #[test]
    fn two_cells_apart_are_no_cursor() {
        let seen = [picture(&[]), picture(&[("8x16+0+0", WHITE), ("8x16+32+0", WHITE)])];
        assert_eq!(rests(&[], &seen), [0, 0]);
    }

    #[test]
    fn a_third_content_of_a_cell_is_no_blinking() {
        let of = |colour| picture(&[("8x16+8+8", colour)]);
        let seen = [of(0), of(WHITE), of(0), of(RED), of(RED), of(WHITE), of(0)];
        assert_eq!(rests(&[], &seen), [0, 100, 200, 0, 100, 200, 0]);
    }

    #[test]
    fn a_cursor_that_moves_is_a_change() {
        let at = |rect| picture(&[(rect, WHITE)]);
        let seen = [at("8x2+0+14"), picture(&[]), at("8x2+8+14"), at("8x2+8+14")];
        assert_eq!(rests(&[], &seen), [0, 100, 0, 100]);
    }

    #[test]
    fn another_mode_is_a_change() {
        let black = |width, height| frame(width, height, |_, _| 0);
        // Also to one that is no larger than a cell.
        let seen = [black(64, 64), black(64, 32), black(8, 8), black(16, 32), black(8, 8)];
        assert_eq!(rests(&[], &seen), [0; 5]);
    }

    #[test]
    fn a_blinking_cell_is_rest() {
        let (on, off) = (picture(&[("16x32+3+5", WHITE)]), picture(&[]));
        let seen = [on.clone(), off.clone(), on.clone(), on.clone(), off, on];
        assert_eq!(rests(&[], &seen), [0, 100, 200, 300, 400, 500]);
    }

    #[test]
    fn what_is_ignored_may_do_anything() {
        let clock = |colour| picture(&[("40x8+0+0", colour)]);
        let seen = [clock(0), clock(WHITE), clock(RED), picture(&[("40x9+0+0", WHITE)])];
        assert_eq!(rests(&["64x8+0+0"], &seen), [0, 100, 200, 0]);
    }

    #[test]
    fn a_picture_that_was_away_begins_anew() {
        let mut stability = Stability::new(Duration::from_millis(300), Vec::new());
        let (start, frame) = (Instant::now(), picture(&[]));
        stability.see(&frame, start);
        stability.lose();
        stability.see(&frame, start + Duration::from_secs(9));
        assert_eq!(stability.rest(), Duration::ZERO);
    }

    #[test]
    fn enough_is_the_time_and_five_looks() {
        // Milliseconds at which it is looked at, and whether that is enough of 300.
        for (looks, enough) in [
            (&[0, 100, 200, 250, 299][..], false),
            (&[0, 100, 200, 250, 300], true),
            (&[0, 1000, 2000, 3000], false),
            (&[0, 1000, 2000, 3000, 4000], true),
            (&[], false),
        ] {
            let mut stability = Stability::new(Duration::from_millis(300), Vec::new());
            let (start, frame) = (Instant::now(), picture(&[]));
            looks.iter().for_each(|at| stability.see(&frame, start + Duration::from_millis(*at)));
            assert_eq!(stability.is_enough(), enough, "{looks:?}");
        }
    }
}
