//! The built-in handbook: what a first question finds.

use serde_json::json;

use crate::service::Service;

#[tokio::test]
async fn the_first_passage_answers_a_first_question() {
    let service = Service::handbook().await;
    for (question, filename, answer) in [
        (
            "What is our data retention policy?",
            "data-retention-policy.md",
            "Our data retention policy is",
        ),
        (
            "Summarize the onboarding checklist",
            "onboarding-checklist.md",
            "The onboarding checklist has five stages",
        ),
        (
            "How many days of holiday do I get?",
            "employee-handbook.md",
            "27 days",
        ),
        (
            "What is the limit for a hotel night?",
            "travel-policy.txt",
            "140 euros",
        ),
        (
            "How many days a week can I work remotely?",
            "remote-work-policy.md",
            "three days a week",
        ),
        (
            "How long does the battery of a Clarity 3 last?",
            "product-faq.html",
            "30 months",
        ),
        (
            "How fast is a SEV1 incident answered?",
            "incident-response.md",
            "15 minutes",
        ),
        (
            "What support levels are there?",
            "support-levels.md",
            "Standard, Premium and Critical",
        ),
        (
            "How many characters must a password have?",
            "information-security-policy.md",
            "14 characters",
        ),
        (
            "Who approves expenses above 5,000 euros?",
            "expense-policy.md",
            "Chief Financial Officer",
        ),
        (
            "Combien de jours de télétravail par semaine ?",
            "charte-teletravail.md",
            "deux jours par semaine",
        ),
        (
            "Who is the controller of personal data?",
            "privacy-notice.html",
            "The controller is Brightwater Instruments Ltd",
        ),
        (
            "When is firmware released?",
            "release-process.md",
            "four times a year",
        ),
    ] {
        let passages = service
            .find(json!({"query": question, "max_results": 3}))
            .await;
        let hit = passages.iter().position(|passage| {
            passage["source"]["filename"] == filename
                && passage["content"].as_str().unwrap().contains(answer)
        });
        let names: Vec<_> = passages
            .iter()
            .map(|passage| &passage["source"]["filename"])
            .collect();
        assert!(hit.is_some(), "{question}: {names:?}");
    }
}
