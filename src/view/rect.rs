//! Sizes and places on a picture, in pixels.

use std::fmt;
use std::str::FromStr;

/// A size, `WxH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub width: u32,
    pub height: u32,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (width, height) = text.split_once('x')?;
            Some(Self { width: number(width)?, height: number(height)? })
        };
        parse().filter(|it| it.width != 0 && it.height != 0).ok_or("a mode is WxH, as 1024x768")
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A rectangle, `WxH+X+Y`, from the upper left corner on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Rect {
    pub fn contains(&self, x: u32, y: u32) -> bool {
        self.covers_row(y) && x.checked_sub(self.x).is_some_and(|x| x < self.width)
    }

    /// Whether it reaches row `y` somewhere.
    pub fn covers_row(&self, y: u32) -> bool {
        y.checked_sub(self.y).is_some_and(|y| y < self.height)
    }
}

impl FromStr for Rect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (size, place) = text.split_once('+')?;
            let Mode { width, height } = size.parse().ok()?;
            let (x, y) = place.split_once('+')?;
            Some(Self { x: number(x)?, y: number(y)?, width, height })
        };
        parse().ok_or("a rectangle is WxH+X+Y, as 640x16+0+464")
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}+{}+{}", self.width, self.height, self.x, self.y)
    }
}

/// Digits and nothing else: Rust would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "x",
            "1024",
            "1024x",
            "x768",
            "0x768",
            "1024x0",
            "+1x2",
            "-1x2",
            "1x2x3",
            "4294967296x1",
            "1024X768",
            " 1x1",
        ] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
        for text in
            ["", "1x2", "1x2+3", "1x2+3+", "1x2++4", "0x2+3+4", "1x2-3-4", "1x2+3+4+5", "+3+4"]
        {
            assert!(text.parse::<Rect>().is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_value_are_the_same() {
        assert_eq!("1024x768".parse(), Ok(Mode { width: 1024, height: 768 }));
        let rect = Rect { x: 3, y: 4, width: 1, height: 2 };
        assert_eq!("1x2+3+4".parse(), Ok(rect));
        assert_eq!(rect.to_string(), "1x2+3+4");
    }

    #[test]
    fn a_rectangle_ends_before_its_far_edges_and_does_not_overflow() {
        let rect = Rect { x: 3, y: 4, width: 1, height: 2 };
        let inside = |x, y| rect.contains(x, y);
        assert!(inside(3, 4) && inside(3, 5));
        assert!(!inside(2, 4) && !inside(4, 4) && !inside(3, 3) && !inside(3, 6));
        let far = Rect { x: u32::MAX, y: u32::MAX, width: u32::MAX, height: u32::MAX };
        assert!(far.contains(u32::MAX, u32::MAX) && !far.contains(0, 0));
    }
}
