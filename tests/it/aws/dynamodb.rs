//! Tables of DynamoDB: moto's, since Amazon's own needs Java.

use serde_json::{Value, json};
use signalbox_proto::v1::ExecutionState;
use signalbox_tests::{
    localstack::DynamoDb,
    planes::{Options, Planes, install_crypto},
};

use super::{Calls, run};

/// An item that only its first writer writes, counted by an update, and read back.
#[tokio::test(flavor = "multi_thread")]
async fn workflows_read_and_write_items() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let dynamodb = DynamoDb::start(dir.path()).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let at = dynamodb.origin.as_str();
    let table = |more: Value| {
        let mut input = json!({"TableName": "alarms"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let create = table(json!({
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }));
    let key = json!({"id": {"S": "cpu ü"}});
    let first = json!({
        "Item": {"id": key["id"], "count": {"N": "1"}},
        "ConditionExpression": "attribute_not_exists(id)",
    });
    let count = json!({
        "Key": key, "ReturnValues": "ALL_NEW",
        "UpdateExpression": "SET #c = #c + :one",
        "ExpressionAttributeNames": {"#c": "count"},
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    });
    let (results, _) = Calls::new()
        .operation("make", "dynamodb", "CreateTable", create)
        .operation("put", "dynamodb", "PutItem", table(first.clone()))
        .operation("count", "dynamodb", "UpdateItem", table(count))
        .operation("get", "dynamodb", "GetItem", table(json!({"Key": key})))
        .run(&api, "items", at)
        .await;
    assert_eq!(results["make"]["TableDescription"]["TableStatus"], "ACTIVE");
    assert_eq!(results["count"]["Attributes"]["count"], json!({"N": "2"}));
    let item = json!({"id": {"S": "cpu ü"}, "count": {"N": "2"}});
    assert_eq!(results["get"]["Item"], item);

    let again = Calls::new().operation("call", "dynamodb", "PutItem", table(first));
    let spec = json!({"trigger": {"manual": {}}, "vars": {"endpoint": at}, "steps": again.steps});
    api.create_workflow("again", &spec.to_string()).await;
    let refused = run(&api, "again", &json!({})).await;
    assert_eq!(refused.state(), ExecutionState::Failed);
    let step = &refused.steps[0];
    let error = step.error.as_ref().unwrap();
    assert_eq!((error.code.as_str(), step.attempts.len()), ("AWS_ERROR", 1));
    assert!(
        error.message.contains("ConditionalCheckFailedException: "),
        "{error:?}"
    );
}
