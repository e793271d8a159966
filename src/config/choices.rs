//! Settings that are one word out of a few.

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants an operator or a client names by a word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word that names a value, as an operator or a client writes it.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The value that `word` names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The word that names this value.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// How passages reach the model.
    Mode {
        /// Found before the model is asked, and put into the conversation.
        Inject = "inject",
        /// Found by the model, which is given a search tool.
        Tool = "tool",
        /// Not at all: the request is relayed.
        Off = "off",
    }
}

words! {
    /// Where the search query comes from.
    QueryFrom {
        /// The last message of the user.
        LastUser = "last_user",
        /// The last messages of the conversation.
        Conversation = "conversation",
        /// A model's rewording of the conversation.
        Rewrite = "rewrite",
    }
}

words! {
    /// A rule that recognises requests which are not searched for.
    SkipRule {
        /// Titles, tags, follow-up questions: what chat programs ask of the same endpoint beside the chat.
        ChatUiTasks = "chat_ui_tasks",
    }
}

words! {
    /// What search looks at.
    SearchMode {
        /// The text of the documents.
        Text = "text",
        /// Images of their pages.
        Vision = "vision",
    }
}

words! {
    /// Whether connections to an upstream speak HTTP/2.
    Http2 {
        /// Where the upstream chooses it when TLS is agreed on (ALPN); never in plain text.
        Auto = "auto",
        /// Always, in plain text too, without asking.
        PriorKnowledge = "prior_knowledge",
        /// Never: HTTP/1.1 alone.
        Off = "off",
    }
}

words! {
    /// How LightOn judges what it found.
    RelevanceScoring {
        /// Not at all: the fastest.
        None = "none",
        /// Scores, and returns everything.
        ScoringOnly = "scoring_only",
        /// Scores, and drops what is below LightOn's threshold.
        ScoringAndFiltering = "scoring_and_filtering",
    }
}

words! {
    /// How much of each source the answer lists.
    Sources {
        /// With the text of the passage.
        Full = "full",
        /// Without the text.
        Reference = "reference",
        /// No source at all.
        None = "none",
    }
}

words! {
    /// What happens when search fails.
    OnSearchError {
        /// The request fails.
        Fail = "fail",
        /// The model answers without context, and a warning says so.
        Answer = "answer",
    }
}

words! {
    /// What happens to limits of keys while the server that counts for several gateways is away.
    OnSharedError {
        /// Each gateway counts for itself.
        Local = "local",
        /// Requests of limited keys are refused.
        Refuse = "refuse",
    }
}

words! {
    /// What happens when search finds nothing.
    OnNoResults {
        /// The model is told so and answers.
        Answer = "answer",
        /// A fixed sentence answers; no model is called.
        Refuse = "refuse",
    }
}

words! {
    /// Which message carries the passages.
    InjectAs {
        /// The one system (or developer) message.
        System = "system",
        /// The head of the last user message.
        User = "user",
    }
}

words! {
    /// The form of a heartbeat.
    HeartbeatKind {
        /// An SSE comment.
        Comment = "comment",
        /// A chunk with an empty delta.
        Delta = "delta",
    }
}

words! {
    /// Where `/v1/files` stores.
    FilesTarget {
        /// LightOn's files API, version 3, where search finds them.
        LightOn = "lighton",
        /// The files API of the upstream `paradigm`, version 2.
        Paradigm = "paradigm",
    }
}

words! {
    /// A wire difference of a provider that the gateway evens out.
    Quirk {
        /// Several system messages, or one that stands later, become the first message.
        MergeSystem = "merge_system",
        /// The system message goes to the head of the first user message.
        SystemAsUser = "system_as_user",
        /// The role `developer` becomes `system`.
        DeveloperAsSystem = "developer_as_system",
        /// `max_completion_tokens` is sent as `max_tokens`.
        UseMaxTokens = "use_max_tokens",
        /// `max_tokens` is sent as `max_completion_tokens`.
        UseMaxCompletionTokens = "use_max_completion_tokens",
        /// An assistant's content that is null or missing is sent as an empty text.
        EmptyAssistantContent = "empty_assistant_content",
        /// An assistant's empty content beside tool calls is sent as null.
        NullAssistantContent = "null_assistant_content",
        /// An empty list of tools is left out, and what refers to it.
        DropEmptyTools = "drop_empty_tools",
        /// `stream_options` is left out.
        NoStreamOptions = "no_stream_options",
        /// `stop` is sent as a list.
        StopAsList = "stop_as_list",
        /// Thinking in earlier answers is left out.
        StripReasoning = "strip_reasoning",
        /// The assistant speaks between a tool's result and the user, and users' messages in a row become one.
        MistralOrder = "mistral_order",
        /// Ids of tool calls are nine letters and digits.
        MistralToolIds = "mistral_tool_ids",
        /// A body of more than 2 MB is refused before it is sent.
        BodyLimit2Mb = "body_limit_2mb",
    }
}

words! {
    /// The form of the log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// Lines for programs.
        Json = "json",
    }
}
