//! Which styles make headings.

use std::collections::HashMap;

use quick_xml::{Reader, events::Event};

use super::{damaged, value};
use crate::retrieval::local::documents::ReadError;

/// A style as `styles.xml` has it.
#[derive(Default)]
struct Style {
    rank: Option<usize>,
    based_on: Option<String>,
}

/// The rank of the heading that each style makes, by style id.
pub(super) fn headings(xml: &str) -> Result<HashMap<String, usize>, ReadError> {
    let mut styles: HashMap<String, Style> = HashMap::new();
    let mut id = String::new();
    let mut reader = Reader::from_str(xml);
    loop {
        match reader
            .read_event()
            .map_err(|error| damaged("its styles are no XML", error))?
        {
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                "style" => id = value(&tag, "w:styleId").unwrap_or_default(),
                "name" => {
                    if let Some(rank) = value(&tag, "w:val").and_then(|name| rank_of(&name)) {
                        styles.entry(id.clone()).or_default().rank = Some(rank);
                    }
                }
                "outlineLvl" => {
                    // Levels count from 0; 9 means body text (ECMA-376 part 1, 17.3.1.20).
                    if let Some(level) = value(&tag, "w:val")
                        .and_then(|level| level.parse::<usize>().ok())
                        .filter(|&level| level < 9)
                    {
                        styles
                            .entry(id.clone())
                            .or_default()
                            .rank
                            .get_or_insert(level + 1);
                    }
                }
                "basedOn" => styles.entry(id.clone()).or_default().based_on = value(&tag, "w:val"),
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    let ranked = styles
        .keys()
        .filter_map(|id| Some((id.clone(), inherited(&styles, id)?)));
    Ok(ranked.collect())
}

/// The rank of a built-in style by its name, which is English in every language of Word.
fn rank_of(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    if name == "title" {
        return Some(1);
    }
    name.strip_prefix("heading ")
        .and_then(|rank| rank.trim().parse().ok())
        .filter(|rank| (1..=9).contains(rank))
}

fn inherited(styles: &HashMap<String, Style>, id: &str) -> Option<usize> {
    let mut style = styles.get(id)?;
    // Styles may be based on each other in a circle.
    for _ in 0..16 {
        if let Some(rank) = style.rank {
            return Some(rank);
        }
        style = styles.get(style.based_on.as_deref()?)?;
    }
    None
}
