//! The authorities that an `http` step trusts.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use signalbox_model::{expression::Template, violation::Collector};

use crate::convert::definition::texts;

/// The template of certificates in PEM. What is no template is known already.
pub(in crate::convert::definition) fn template(
    field: &str,
    text: &str,
    problems: &mut Collector,
) -> Option<Template> {
    let template = texts::template(field, text, problems)?;
    let problem = template.as_literal().and_then(problem);
    if let Some(problem) = problem {
        problems.add(field, problem);
        return None;
    }
    Some(template)
}

fn problem(pem: &str) -> Option<String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Err(error) => Some(format!("is not valid PEM: {error}")),
        Ok(found) if found.is_empty() => {
            Some("holds no certificate: expected PEM, -----BEGIN CERTIFICATE----- …".to_owned())
        }
        Ok(_) => None,
    }
}
