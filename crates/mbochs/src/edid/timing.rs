//! Timings of modes: those of the preferred one, by VESA's formula.

/// A mode's timing. Synchronization is positive horizontally and negative vertically, as of all reduced blanking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Pixel clock in kHz.
    pub(super) clock: u32,
    /// Visible pixels in a row.
    pub(super) width: u32,
    /// Pixels from there to the horizontal sync pulse.
    pub(super) h_front: u32,
    /// Pixels of the pulse.
    pub(super) h_sync: u32,
    /// Pixels of a row, all in all.
    pub(super) h_total: u32,
    /// Visible rows.
    pub(super) height: u32,
    /// Rows from there to the vertical sync pulse.
    pub(super) v_front: u32,
    /// Rows of the pulse.
    pub(super) v_sync: u32,
    /// Rows, all in all.
    pub(super) v_total: u32,
}

/// Frames a second.
const REFRESH: u64 = 60;
/// Steps of the pixel clock, in kHz.
const CLOCK_STEP: u64 = 250;
/// Pixels of a character cell.
const CELL: u32 = 8;
/// The shortest vertical blanking, in microseconds.
const MIN_V_BLANK: u64 = 460;
const H_BLANK: u32 = 160;
const H_FRONT: u32 = 48;
const H_SYNC: u32 = 32;
const V_FRONT: u32 = 3;
const MIN_V_BACK: u32 = 6;

impl Timing {
    /// Reduced blanking, version 1, at 60 Hz (VESA CVT 1.1, section 5.4). The standard knows widths of whole character
    /// cells only; others are taken as they are, as there is no character generator to please.
    ///
    /// Width and height are 400 to 4095.
    pub(super) fn reduced_blanking(width: u32, height: u32) -> Option<Self> {
        let v_sync = v_sync(width, height);
        // Rows that fit into the shortest blanking, if the visible ones share what is left of the frame.
        let second = 1_000_000;
        let blank = MIN_V_BLANK.checked_mul(REFRESH)?;
        let rows = blank.checked_mul(height.into())?.checked_div(second - blank)?;
        let rows = u32::try_from(rows).ok()?.checked_add(1)?.max(V_FRONT + v_sync + MIN_V_BACK);
        let v_total = height.checked_add(rows)?;
        let h_total = width.checked_add(H_BLANK)?;
        let pixels = u64::from(h_total).checked_mul(v_total.into())?.checked_mul(REFRESH)?;
        let clock = u32::try_from(pixels / (CLOCK_STEP * 1000) * CLOCK_STEP).ok()?;
        let (h_front, h_sync, v_front) = (H_FRONT, H_SYNC, V_FRONT);
        Some(Self { clock, width, h_front, h_sync, h_total, height, v_front, v_sync, v_total })
    }

    /// Rows a second, in Hz, rounded down.
    pub(super) fn h_rate(&self) -> u64 {
        (u64::from(self.clock) * 1000).checked_div(self.h_total.into()).unwrap_or(0)
    }

    /// Frames a second, in millihertz, rounded down.
    pub(super) fn v_rate(&self) -> u64 {
        let pixels = u64::from(self.h_total) * u64::from(self.v_total);
        (u64::from(self.clock) * 1_000_000).checked_div(pixels).unwrap_or(0)
    }
}

/// Rows of the vertical sync pulse, which tell a monitor the aspect ratio.
fn v_sync(width: u32, height: u32) -> u32 {
    let is = |x: u32, y: u32| width == height * x / y / CELL * CELL;
    if is(4, 3) {
        4
    } else if is(16, 9) {
        5
    } else if is(16, 10) {
        6
    } else if is(5, 4) || is(15, 9) {
        7
    } else {
        10
    }
}
