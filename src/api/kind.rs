//! What the four kinds share: envelope, encoding, and what a client must know of them.

use serde_json::{Number, Value};

/// Brings an object into the form in which the API server keeps it: members that are `null` are gone, and `1.0` is `1`.
///
/// Clients written in Go print `null` for unset fields, so it is everywhere.
pub(super) fn normalize(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Number(number) => {
            if let Some(integer) = integer(number) {
                *number = integer.into();
            }
        }
        _ => {}
    }
}

/// The integer that a number is, in Go's eyes: `1.0` is one too, as long as no digit of it can be lost.
pub(crate) fn integer(number: &Number) -> Option<i64> {
    const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;
    if number.is_i64() || number.is_u64() {
        return number.as_i64();
    }
    let float =
        number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= LARGEST_EXACT)?;
    format!("{float:.0}").parse().ok()
}

/// Declares a kind: its struct, its encoding with `apiVersion` and `kind`, its lenient decoding, its place in the API.
macro_rules! kind {
    ($(#[doc = $doc:literal])* $kind:ident, $plural:literal, $scope:ident, $spec:ty, $status:ty) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $kind {
            /// Name, namespace, labels and the rest of the standard metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            /// What was found.
            pub status: Option<$status>,
        }

        impl $kind {
            /// The kind's name.
            pub const KIND: &'static str = stringify!($kind);
            /// What the kind is, for the people who use it.
            pub const DESCRIPTION: &'static str = concat!($($doc),*);
            /// The kind's name in URLs, in the plural.
            pub const PLURAL: &'static str = $plural;
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                Self::KIND.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $crate::api::GROUP.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $crate::api::VERSION.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                Self::PLURAL.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(
                &mut self,
            ) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let has_spec = self.spec != <$spec>::default();
                let fields = 3 + usize::from(has_spec) + usize::from(self.status.is_some());
                let mut object = serializer.serialize_struct(Self::KIND, fields)?;
                object.serialize_field("apiVersion", $crate::api::API_VERSION)?;
                object.serialize_field("kind", Self::KIND)?;
                object.serialize_field("metadata", &self.metadata)?;
                if has_spec {
                    object.serialize_field("spec", &self.spec)?;
                }
                if let Some(status) = &self.status {
                    object.serialize_field("status", status)?;
                }
                object.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Default, serde::Deserialize)]
                #[serde(default)]
                struct Fields {
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                    spec: $spec,
                    status: Option<$status>,
                }
                let mut value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                $crate::api::kind::normalize(&mut value);
                let Fields { metadata, spec, status } =
                    serde_json::from_value(value).map_err(serde::de::Error::custom)?;
                Ok(Self { metadata, spec, status })
            }
        }
    };
}
pub(super) use kind;
