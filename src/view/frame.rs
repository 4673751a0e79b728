//! A picture, copied once out of the memory that it lies in.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};
use vfio_device::MemoryView;

use super::{Mode, Rect};

/// XRGB8888, `fourcc_code('X', 'R', '2', '4')`: bytes blue, green, red, and one that means nothing.
const XR24: u64 = 0x3432_5258;
/// Bytes of its pixel.
const PIXEL: u64 = 4;
/// A picture of more pixels than these (8192 x 8192) is not looked at: no display has so many, and room for them would
/// have to be found.
const MOST_PIXELS: u64 = 64 << 20;
/// Bytes from the first pixel to the last at most, as many as so many pixels have without padding: what is read of
/// memory that nobody has touched is populated, a page for each row at least.
const MOST_BYTES: u64 = MOST_PIXELS * PIXEL;
/// Bytes before the end of the picture at most: all of that is mapped.
const MOST_END: u64 = 1 << 30;

/// Where rows of pixels lie: a plane that has been checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    mode: Mode,
    stride: u64,
    offset: u64,
    end: u64,
}

impl Layout {
    /// Of a plane as the verb `plane` has it; `None` for `null`. An error says what is wrong with it.
    pub fn new(plane: &Value) -> Result<Option<Self>, String> {
        if plane.is_null() {
            return Ok(None);
        }
        let number =
            |member: &str| plane[member].as_u64().ok_or_else(|| format!("its {member} is missing"));
        let size = |member: &str| {
            let size = u32::try_from(number(member)?).ok().filter(|size| *size != 0);
            size.ok_or_else(|| format!("its {member} cannot be"))
        };
        if number("fourcc")? != XR24 {
            return Err("its format is not XR24".into());
        }
        let mode = Mode { width: size("width")?, height: size("height")? };
        let (width, height) = (u64::from(mode.width), u64::from(mode.height));
        if width * height > MOST_PIXELS {
            return Err(format!("it has too many pixels, {mode}"));
        }
        let (stride, offset, size) = (number("stride")?, number("offset")?, number("size")?);
        if stride < width * PIXEL {
            return Err(format!("its rows overlap, with {stride} bytes for {width} pixels"));
        }
        // The last row ends with its last pixel.
        let length =
            stride.checked_mul(height - 1).and_then(|last| last.checked_add(width * PIXEL));
        let end = length.and_then(|length| offset.checked_add(length));
        let (length, end) = length.zip(end).ok_or("it is outside of all memory")?;
        if length > MOST_BYTES || end > MOST_END {
            return Err(format!("it is spread too far, over {length} bytes from {offset} on"));
        }
        if length > size {
            return Err(format!("it has {length} bytes, of which {size} are the display's"));
        }
        Ok(Some(Self { mode, stride, offset, end }))
    }

    /// Bytes of memory up to its last pixel.
    pub fn end(&self) -> u64 {
        self.end
    }
}

/// A picture: three bytes a pixel, red, green, blue, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    mode: Mode,
    rgb: Vec<u8>,
}

impl Frame {
    /// Copies the rows out of the memory, which is left as it is.
    pub fn copy(memory: &MemoryView, layout: &Layout) -> Result<Self, String> {
        let Layout { mode, stride, offset, .. } = *layout;
        let width = mode.width as usize;
        let mut row = vec![0; width * PIXEL as usize];
        let mut rgb = vec![0; width * mode.height as usize * 3];
        for (y, to) in (0..).zip(rgb.chunks_exact_mut(width * 3)) {
            memory
                .read(offset + y * stride, &mut row)
                .map_err(|_| "it is outside of its memory".to_owned())?;
            for (to, &[blue, green, red, _]) in
                to.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0)
            {
                *to = [red, green, blue];
            }
        }
        Ok(Self { mode, rgb })
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All of it, three bytes a pixel.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// SHA-256 of [`rgb`](Self::rgb), as hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut text = String::new();
        for byte in Sha256::digest(&self.rgb) {
            let _ = write!(text, "{byte:02x}"); // to a string: cannot fail
        }
        text
    }

    /// Mode and hash, as `screenshot` and `wait` print them.
    pub fn summary(&self) -> String {
        format!("{} sha256:{}", self.mode, self.hash())
    }

    fn rows(&self) -> impl Iterator<Item = (u32, &[[u8; 3]])> {
        let rows = self.rgb.chunks(self.mode.width as usize * 3);
        (0..).zip(rows.map(|row| row.as_chunks().0))
    }

    /// Whether all pixels but the ignored ones have one colour.
    pub fn is_blank(&self, ignored: &[Rect]) -> bool {
        let mut first = None;
        self.rows().all(|(y, row)| {
            let hidden = hidden_in(ignored, y);
            (0..)
                .zip(row)
                .filter(|(x, _)| !hides(&hidden, *x, y))
                .all(|(_, pixel)| pixel == *first.get_or_insert(pixel))
        })
    }

    /// The smallest rectangle in which all differences lie but the ignored ones; `None` if there are none. Of another
    /// mode everything differs.
    pub fn difference(&self, other: &Self, ignored: &[Rect]) -> Option<Rect> {
        let Mode { width, height } = self.mode;
        if self.mode != other.mode {
            return Some(Rect { x: 0, y: 0, width, height });
        }
        let mut found: Option<(u32, u32, u32, u32)> = None;
        for ((y, ours), (_, theirs)) in self.rows().zip(other.rows()) {
            if ours == theirs {
                continue;
            }
            let hidden = hidden_in(ignored, y);
            let differs = |&(x, (our, their)): &(u32, (&[u8; 3], &[u8; 3]))| {
                our != their && !hides(&hidden, x, y)
            };
            for (x, _) in (0..).zip(ours.iter().zip(theirs)).filter(differs) {
                let (left, top, right, _) = found.unwrap_or((x, y, x, y));
                found = Some((left.min(x), top, right.max(x), y));
            }
        }
        let (left, top, right, bottom) = found?;
        Some(Rect { x: left, y: top, width: right - left + 1, height: bottom - top + 1 })
    }
}

/// Those that reach row `y`.
fn hidden_in(ignored: &[Rect], y: u32) -> Vec<Rect> {
    ignored.iter().filter(|rect| rect.covers_row(y)).copied().collect()
}

fn hides(ignored: &[Rect], x: u32, y: u32) -> bool {
    ignored.iter().any(|rect| rect.contains(x, y))
}

#[cfg(test)]
pub(super) mod tests;
