use serde_json::{Map, Value, json};
use signalbox_model::{
    execution::Failure,
    expression::Scope,
    workflow::{HttpBody, HttpStep},
};

use super::{Plan, StepKind, expression_failure};
use crate::effect::{EffectKind, HttpRequest};

/// Headers whose values are credentials more often than not: the history shows that they were sent, not what they held.
const MASKED_HEADERS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "x-auth-token",
    "api-key",
];

impl StepKind for HttpStep {
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure> {
        let text = self.url.render_text(scope).map_err(expression_failure)?;
        let mut url = checked_url(&text)?;
        for (name, value) in &self.query {
            let value = value.render_text(scope).map_err(expression_failure)?;
            url.query_pairs_mut().append_pair(name, &value);
        }
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, value) in &self.headers {
            let value = value.render_text(scope).map_err(expression_failure)?;
            if value.chars().any(|c| c.is_control() && c != '\t') {
                return Err(Failure::new(
                    "REQUEST",
                    format!("header {name}: its value holds a control character"),
                ));
            }
            headers.push((name.clone(), value));
        }
        let (body, shown, content_type) = match &self.body {
            None => (None, Value::Null, None),
            Some(HttpBody::Json(template)) => {
                let value = template.render(scope).map_err(expression_failure)?;
                let text = value.to_string().into_bytes();
                (Some(text), value, Some("application/json"))
            }
            Some(HttpBody::Text(template)) => {
                let text = template.render_text(scope).map_err(expression_failure)?;
                let shown = Value::String(text.clone());
                (
                    Some(text.into_bytes()),
                    shown,
                    Some("text/plain; charset=utf-8"),
                )
            }
        };
        let own_type = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
        if let Some(content_type) = content_type
            && !headers.iter().any(own_type)
        {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        let method = self.effective_method();
        let input = json!({
            "method": method.as_str(),
            "url": url.as_str(),
            "headers": masked(&headers),
            "body": shown,
        });
        Ok(Plan::Effect {
            input,
            kind: EffectKind::Http(HttpRequest {
                method,
                url,
                headers,
                body,
            }),
        })
    }
}

fn checked_url(text: &str) -> Result<url::Url, Failure> {
    let wrong = |why: &str| Failure::new("REQUEST", format!("url: {why}"));
    let url = url::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("expected http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold user information"));
    }
    Ok(url)
}

fn masked(headers: &[(String, String)]) -> Value {
    let shown = headers.iter().map(|(name, value)| {
        let secret = MASKED_HEADERS.contains(&name.to_ascii_lowercase().as_str());
        let value = if secret { "***" } else { value.as_str() };
        (name.clone(), Value::from(value))
    });
    Value::Object(shown.collect::<Map<_, _>>())
}
