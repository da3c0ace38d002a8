//! Who set which fields of a Deployment. What somebody else added to it, such as a variable or a container, is theirs, and every
//! apply of ours leaves it there: it is made ours first, so that the next apply, in which it is not, takes it away.

use serde_json::{Map, Value, json};

use super::api::{ApiResult, Kind};
use super::names::US;
use super::object::Object;
use super::site::Site;

const SPEC: &str = "f:spec";

/// Who else set fields of its spec: not its status, and not what the cluster itself does.
pub(super) fn others(live: &Object) -> impl Iterator<Item = String> + '_ {
    live.items("/metadata/managedFields").filter(is_other).filter_map(|entry| {
        let when = entry.text("/time").map(|time| format!(" at {time}")).unwrap_or_default();
        Some(format!("{}{when}", entry.text("/manager")?))
    })
}

fn is_other(entry: &Object) -> bool {
    let ours = entry.text("/manager") == Some(US) || entry.text("/subresource") == Some("status");
    !ours && entry.0.pointer("/fieldsV1/f:spec").is_some()
}

/// Makes all of the spec ours, if nobody changed the Deployment since it was read; the version of it that is there now.
pub(super) async fn take_over(site: &Site, live: &Object) -> ApiResult<String> {
    let Some(owned) = taken_over(live) else { return Ok(live.version().to_owned()) };
    let patch = json!({ "metadata": { "resourceVersion": live.version(), "managedFields": owned } });
    let there = site.cluster.merge(Kind::Deployment, live.name(), &patch).await?;
    Ok(there.version().to_owned())
}

/// The owners as they are to be; `None` where nobody else set anything of the spec.
fn taken_over(live: &Object) -> Option<Vec<Value>> {
    let (theirs, mut stay): (Vec<Object>, Vec<Object>) =
        live.items("/metadata/managedFields").partition(is_other);
    if theirs.is_empty() {
        return None;
    }
    let applied = |entry: &&mut Object| {
        entry.text("/manager") == Some(US)
            && entry.text("/operation") == Some("Apply")
            && entry.text("/subresource").is_none()
    };
    let ours = stay.iter_mut().find(applied)?.0.get_mut("fieldsV1")?.as_object_mut()?;
    let mut rest = Vec::new();
    for mut entry in theirs {
        let fields = entry.0.get_mut("fieldsV1")?.as_object_mut()?;
        if let Some(spec) = fields.remove(SPEC) {
            unite(ours.entry(SPEC).or_insert_with(|| json!({})), spec);
        }
        if !fields.is_empty() {
            rest.push(entry);
        }
    }
    Some(stay.into_iter().chain(rest).map(|entry| entry.0).collect())
}

/// Fields of both: a field is a key, and what is beneath it its value.
fn unite(ours: &mut Value, theirs: Value) {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else { return };
    for (field, beneath) in theirs {
        unite(ours.entry(field).or_insert_with(|| Value::Object(Map::new())), beneath);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(entries: Value) -> Object {
        Object(json!({ "metadata": { "managedFields": entries } }))
    }

    #[test]
    fn what_others_set_of_the_spec_becomes_ours() {
        let ours = json!({ "manager": US, "operation": "Apply", "fieldsV1": {
            "f:metadata": { "f:labels": {} }, "f:spec": { "f:replicas": {} } } });
        let controller = json!({ "manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {
            "f:metadata": { "f:annotations": {} }, "f:status": {} } });
        let alone = owned(json!([ours, controller]));
        assert_eq!(taken_over(&alone), None);
        let kubectl = json!({ "manager": "kubectl-set", "operation": "Update", "fieldsV1": {
            "f:metadata": { "f:annotations": { "f:note": {} } },
            "f:spec": { "f:template": { "f:spec": {} }, "f:replicas": {} } } });
        let scale = json!({ "manager": "kubectl", "operation": "Update", "subresource": "scale", "fieldsV1": {
            "f:spec": { "f:replicas": {} } } });
        let written = owned(json!([ours, controller, kubectl, scale]));
        assert_eq!(others(&written).collect::<Vec<_>>(), ["kubectl-set", "kubectl"]);
        let united = taken_over(&written).unwrap();
        let spec = json!({ "f:replicas": {}, "f:template": { "f:spec": {} } });
        assert_eq!(united[0]["fieldsV1"]["f:spec"], spec);
        assert_eq!(united[1], controller);
        assert_eq!(united[2]["fieldsV1"], json!({ "f:metadata": { "f:annotations": { "f:note": {} } } }));
        assert_eq!(united.len(), 3, "an owner of nothing is none");
    }
}
