//! The image of a page: a drawing of its lines, generated from the text of the passage.
//!
//! LightOn sends the rendered page, hundreds of kilobytes. Here nothing is rendered: each word is a bar as wide as the word, black on
//! white. It is a valid PNG, so that programs which decode, show or forward page images can be tried.

use base64::{Engine, engine::general_purpose::STANDARD};

const WIDTH: usize = 200;
const HEIGHT: usize = 280;
const ROW_BYTES: usize = WIDTH / 8;
const MARGIN: usize = 16;
const LINE_HEIGHT: usize = 6;
const BAR_HEIGHT: usize = 3;
/// Each character is this wide, and so is the space between two words.
const CHARACTER_WIDTH: usize = 2;

/// The image of a page with `text` on it: a PNG in base64.
pub(super) fn page(text: &str) -> String {
    STANDARD.encode(png(&draw(text)))
}

/// The rows of the image, one bit a pixel, 1 for white.
fn draw(text: &str) -> Vec<[u8; ROW_BYTES]> {
    let mut rows = vec![[0xff; ROW_BYTES]; HEIGHT];
    let (mut left, mut top) = (MARGIN, MARGIN);
    for word in text.split_whitespace() {
        let width = (word.chars().count() * CHARACTER_WIDTH).min(WIDTH - 2 * MARGIN);
        if left + width > WIDTH - MARGIN {
            left = MARGIN;
            top += LINE_HEIGHT;
        }
        if top + BAR_HEIGHT > HEIGHT - MARGIN {
            break;
        }
        for row in rows.iter_mut().skip(top).take(BAR_HEIGHT) {
            for pixel in left..left + width {
                if let Some(byte) = row.get_mut(pixel / 8) {
                    *byte &= !(0x80 >> (pixel % 8));
                }
            }
        }
        left += width + CHARACTER_WIDTH;
    }
    rows
}

/// A PNG of `rows` (W3C PNG specification: signature, IHDR, IDAT, IEND), its data stored and not compressed.
fn png(rows: &[[u8; ROW_BYTES]]) -> Vec<u8> {
    // Each row begins with its filter type, 0 for none.
    let data: Vec<u8> = rows
        .iter()
        .flat_map(|row| std::iter::once(&0).chain(row))
        .copied()
        .collect();
    let mut header = Vec::new();
    header.extend((WIDTH as u32).to_be_bytes());
    header.extend((HEIGHT as u32).to_be_bytes());
    // One bit a pixel, greyscale; the only compression, filter method and no interlacing.
    header.extend([1, 0, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [
        (b"IHDR", header),
        (b"IDAT", zlib(&data)),
        (b"IEND", Vec::new()),
    ] {
        let start = file.len() + 4;
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(content);
        let sum = crc32(file.get(start..).unwrap_or_default());
        file.extend(sum.to_be_bytes());
    }
    file
}

/// `data` in a zlib stream (RFC 1950) of one stored block (RFC 1951, 3.2.4), which takes 65,535 bytes at most.
fn zlib(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(data);
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    (b << 16) | a
}

fn crc32(data: &[u8]) -> u32 {
    let sum = data.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_specifications() {
        // The check values of the CRC catalogue and of RFC 1950's well-known example.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn a_page_fits_one_stored_block_whatever_its_text() {
        for text in [
            "",
            "word",
            &"x".repeat(100_000),
            &"many words ".repeat(10_000),
        ] {
            let rows = draw(text);
            assert_eq!(rows.len(), HEIGHT);
            assert!(rows.len() * (ROW_BYTES + 1) <= usize::from(u16::MAX));
        }
    }

    #[test]
    fn other_words_give_another_image() {
        assert_ne!(page("a short line"), page("another and rather longer line"));
    }

    #[test]
    fn the_image_is_a_png() {
        let bytes = STANDARD.decode(page("data retention")).unwrap();
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"));
        assert!(
            bytes.ends_with(b"IEND\xae\x42\x60\x82"),
            "IEND has a fixed sum"
        );
    }
}
