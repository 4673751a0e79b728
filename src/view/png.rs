//! A picture as a PNG file.

use std::io::Write;

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::Frame;

/// Writes it: 8 bits of red, green and blue a pixel.
pub fn write(frame: &Frame, out: impl Write) -> Result<(), EncodingError> {
    let mode = frame.mode();
    let mut encoder = Encoder::new(out, mode.width, mode.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(frame.rgb())?;
    writer.finish()
}
