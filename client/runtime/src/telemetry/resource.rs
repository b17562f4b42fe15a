//! Who emits the spans: the OpenTelemetry resource.

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{
    EnvResourceDetector, ResourceDetector, TelemetryResourceDetector,
};

const SERVICE_NAME: &str = "service.name";

/// Our attributes first, so that `OTEL_RESOURCE_ATTRIBUTES` and then `OTEL_SERVICE_NAME` override
/// them, in the order of the OpenTelemetry specification ("SDK environment variables").
pub(super) fn of(service_name: &str) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    merge(service_name, EnvResourceDetector::new().detect(), named)
}

fn merge(service_name: &str, environment: Resource, named: Option<String>) -> Resource {
    let builder = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new(SERVICE_NAME, service_name.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ])
        .with_attributes(
            environment
                .iter()
                .map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
        );
    match named {
        Some(name) => builder.with_attribute(KeyValue::new(Key::new(SERVICE_NAME), name)),
        None => builder,
    }
    .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn get(resource: &Resource, key: &'static str) -> String {
        resource.get(&Key::new(key)).unwrap().to_string()
    }

    fn environment() -> Resource {
        Resource::builder_empty()
            .with_attributes([
                KeyValue::new(SERVICE_NAME, "from-attributes"),
                KeyValue::new("deployment.environment.name", "test"),
            ])
            .build()
    }

    #[test]
    fn our_own_attributes_are_there() {
        let resource = merge("plane", Resource::builder_empty().build(), None);
        assert_eq!(get(&resource, SERVICE_NAME), "plane");
        assert_eq!(get(&resource, "service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(get(&resource, "telemetry.sdk.language"), "rust");
        let other = merge("plane", Resource::builder_empty().build(), None);
        let id = "service.instance.id";
        assert_ne!(get(&resource, id), get(&other, id));
    }

    #[test]
    fn the_environment_overrides_and_the_service_name_wins() {
        let resource = merge("plane", environment(), None);
        assert_eq!(get(&resource, SERVICE_NAME), "from-attributes");
        assert_eq!(get(&resource, "deployment.environment.name"), "test");
        let resource = merge("plane", environment(), Some("named".to_owned()));
        assert_eq!(get(&resource, SERVICE_NAME), "named");
    }
}
