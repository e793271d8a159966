//! Prints what the gateway takes the given files for: one line a file, `TOKENS<tab>FILE`. `benches/tokens` compares it with tokenizers.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{env, fs, io, path::Path};

use groundwire::rag::tokens;

fn main() -> io::Result<()> {
    for path in env::args_os().skip(1) {
        let text = fs::read_to_string(&path)?;
        println!(
            "{}\t{}",
            tokens::estimate(&text),
            Path::new(&path).display()
        );
    }
    Ok(())
}
