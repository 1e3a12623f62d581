//! What a review comes in and goes out as: JSON or YAML, with upstream's words for everything else.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

/// How a review is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }

    /// Of what was sent. Nothing but the bare media type is understood.
    pub fn sent(headers: &HeaderMap) -> Result<Self, BadRequest> {
        let text = text_of(headers, header::CONTENT_TYPE);
        let format =
            [Self::Json, Self::Yaml].into_iter().find(|format| format.media_type() == text);
        format.ok_or(BadRequest::ContentType { text })
    }

    /// Of the answer, by what is wanted most.
    pub fn wanted(headers: &HeaderMap) -> Result<Self, BadRequest> {
        let text = text_of(headers, header::ACCEPT);
        if text.is_empty() {
            return Ok(Self::Json);
        }
        let mut clauses: Vec<_> = text.split(',').filter_map(clause).collect();
        clauses.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let format = clauses.into_iter().find_map(|(media_type, _)| match media_type {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            _ => None,
        });
        format.ok_or(BadRequest::Accept { text })
    }

    /// What was sent, as data.
    pub fn read(self, body: &[u8]) -> Result<Value, BadRequest> {
        let unreadable = |error: &dyn std::fmt::Display| BadRequest::Body {
            body: String::from_utf8_lossy(body).into_owned(),
            error: error.to_string(),
        };
        match self {
            Self::Json => serde_json::from_slice(body).map_err(|error| unreadable(&error)),
            Self::Yaml => serde_saphyr::from_slice(body).map_err(|error| unreadable(&error)),
        }
    }

    /// An answer with this data.
    pub fn answer(self, value: &Value) -> Response {
        let text = match self {
            Self::Json => Ok(value.to_string()),
            Self::Yaml => serde_saphyr::to_string(value),
        };
        match text {
            Ok(text) => ([(header::CONTENT_TYPE, self.media_type())], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.unwrap_or_default().trim().to_owned()
}

/// Media type and quality of one clause of `Accept`; nothing where it is not wanted at all.
fn clause(text: &str) -> Option<(&str, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next()?;
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
    let quality = quality.unwrap_or(1.0);
    (quality > 0.0).then_some((media_type, quality))
}

/// What cannot be answered, as upstream says it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It is neither JSON nor YAML.
    #[error("invalid Content-Type header `{text}`")]
    ContentType {
        /// The header.
        text: String,
    },
    /// Neither JSON nor YAML is wanted.
    #[error("invalid accept header `{text}`")]
    Accept {
        /// The header.
        text: String,
    },
    /// It is not what it says it is.
    #[error("failed to deserialize body ({body}) with error {error}")]
    Body {
        /// What was sent.
        body: String,
        /// What is wrong with it.
        error: String,
    },
    /// It is something else.
    #[error("Unsupported group version kind: {kind}")]
    Kind {
        /// Group, version and kind.
        kind: String,
    },
}

impl BadRequest {
    /// The answer to it.
    pub fn answer(&self) -> Response {
        (StatusCode::BAD_REQUEST, self.to_string()).into_response()
    }
}

/// The review in a request, which has to be of this version and kind.
pub fn review(format: Format, body: &[u8], version: &str, kind: &str) -> Result<Value, BadRequest> {
    let review = format.read(body)?;
    let word = |name: &str| review[name].as_str().unwrap_or_default();
    if (word("apiVersion"), word("kind")) == (version, kind) {
        return Ok(review);
    }
    let kind = match word("apiVersion").rsplit_once('/') {
        Some((group, version)) => format!("{group}/{version}, Kind={}", word("kind")),
        None => format!("/{}, Kind={}", word("apiVersion"), word("kind")),
    };
    Err(BadRequest::Kind { kind })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_content_type_has_no_parameters() {
        let sent = |text| Format::sent(&headers(header::CONTENT_TYPE, text));
        assert_eq!(sent("application/json"), Ok(Format::Json));
        assert_eq!(sent("application/yaml"), Ok(Format::Yaml));
        for text in ["application/json; charset=utf-8", "text/json", ""] {
            let error = sent(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid Content-Type header `{text}`"));
        }
        assert!(Format::sent(&HeaderMap::new()).is_err());
    }

    #[test]
    fn the_answer_is_what_is_wanted_most() {
        let wanted = |text| Format::wanted(&headers(header::ACCEPT, text));
        assert_eq!(Format::wanted(&HeaderMap::new()), Ok(Format::Json));
        for text in
            ["application/json", "*/*", "application/*", "text/html, application/json;q=0.5"]
        {
            assert_eq!(wanted(text), Ok(Format::Json), "{text}");
        }
        for text in ["application/yaml", "application/json;q=0.2, application/yaml; q=0.9"] {
            assert_eq!(wanted(text), Ok(Format::Yaml), "{text}");
        }
        for text in ["text/html", "application/json;q=0"] {
            let error = wanted(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid accept header `{text}`"));
        }
    }

    #[test]
    fn a_review_is_of_one_version_only() {
        let of = |body: &Value| {
            review(Format::Json, body.to_string().as_bytes(), "a.k8s.io/v1", "Review")
        };
        let right = json!({ "apiVersion": "a.k8s.io/v1", "kind": "Review" });
        assert_eq!(of(&right), Ok(right));
        let old = json!({ "apiVersion": "a.k8s.io/v1beta1", "kind": "Review" });
        let error = of(&old).unwrap_err().to_string();
        assert_eq!(error, "Unsupported group version kind: a.k8s.io/v1beta1, Kind=Review");
        let error = review(Format::Json, b"{", "v1", "Review").unwrap_err().to_string();
        assert!(error.starts_with("failed to deserialize body ({) with error "), "{error}");
        assert_eq!(
            review(Format::Yaml, b"apiVersion: v1\nkind: Review\n", "v1", "Review"),
            Ok(json!({ "apiVersion": "v1", "kind": "Review" }))
        );
    }
}
