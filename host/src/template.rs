//! Templates: text that names variables as `{{ name }}`.

use std::borrow::Cow;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text as it is.
    Text(&'a str),
    /// The value of the application variable of this name.
    Variable(&'a str),
}

/// Splits a template into its parts.
pub(crate) fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("{{") {
            let (name, after) = inside.split_once("}}").ok_or("`{{` without `}}`")?;
            parts.push(Part::Variable(name.trim()));
            rest = after;
        } else {
            let (text, after) = rest.split_at(rest.find("{{").unwrap_or(rest.len()));
            parts.push(Part::Text(text));
            rest = after;
        }
    }
    Ok(parts)
}

/// Replaces names by their values. A name without a value is an error.
pub(crate) fn fill<'v>(template: &str, value_of: impl Fn(&str) -> Option<&'v str>) -> Result<String, String> {
    let mut filled = String::new();
    for part in parts(template)? {
        filled.push_str(&match part {
            Part::Text(text) => Cow::Borrowed(text),
            Part::Variable(name) => {
                value_of(name).map(Cow::Borrowed).ok_or_else(|| format!("no value for `{name}`"))?
            }
        });
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_templates_apart() {
        let text = Part::Text;
        let variable = Part::Variable;
        for (template, expected) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("{{ name }}", vec![variable("name")]),
            ("a-{{name}}-b", vec![text("a-"), variable("name"), text("-b")]),
            ("{{ one }}{{ two }}", vec![variable("one"), variable("two")]),
            ("{ single }}", vec![text("{ single }}")]),
        ] {
            assert_eq!(parts(template), Ok(expected), "{template}");
        }
        assert!(parts("{{ closed }} {{ open").is_err());
    }

    #[test]
    fn fills_templates() {
        let value_of = |name: &str| (name == "host").then_some("example.com");
        assert_eq!(fill("https://{{ host }}/x", value_of), Ok("https://example.com/x".to_owned()));
        assert_eq!(fill("{{ other }}", value_of), Err("no value for `other`".to_owned()));
    }
}
