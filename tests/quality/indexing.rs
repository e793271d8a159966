//! How long indexing takes: printed, not asserted, for it depends on the machine and on how the program was built.

use std::time::Instant;

use groundwire::{
    config::WorkspaceId,
    retrieval::{
        SearchQuery, Workspace,
        local::{Document, LocalIndex, Page},
    },
};

#[test]
fn ten_thousand_passages_are_indexed_at_once_and_each_is_found() {
    let page = |number: u32| Page {
        number: Some(number),
        text: format!(
            "Machine number m{number} stands in hall {} and is greased by its keeper on every first Monday of the month, whatever the weather is.",
            number % 40
        ),
    };
    let document = |at: u32| Document {
        file_id: i64::from(at) + 1,
        workspace: Workspace {
            id: WorkspaceId(1),
            name: "machines".to_owned(),
        },
        filename: format!("machines-{at}.pdf"),
        title: format!("Machines {at}"),
        extension: "pdf".to_owned(),
        size_bytes: 0,
        tags: Vec::new(),
        external_metadata: None,
        pages: (at * 500 + 1..=at * 500 + 500).map(page).collect(),
    };
    let documents: Vec<Document> = (0..20).map(document).collect();
    let index = LocalIndex::new().unwrap();

    let began = Instant::now();
    index.put_all(documents).unwrap();
    println!(
        "indexing: 10,000 passages in {:.1} s",
        began.elapsed().as_secs_f64()
    );

    assert_eq!(index.size().passages, 10_000);
    for number in [1, 777, 5_000, 10_000] {
        let began = Instant::now();
        let found = index
            .find(&SearchQuery::new(format!(
                "Where does machine m{number} stand?"
            )))
            .unwrap()
            .passages;
        println!(
            "one search among them: {:.1} ms",
            began.elapsed().as_secs_f64() * 1000.0
        );
        assert_eq!(found[0].source.page_start, Some(number));
        assert_eq!(
            found[0].source.total_pages,
            Some(number.div_ceil(500) * 500)
        );
    }
}
