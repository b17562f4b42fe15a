"""Plays the AWS user of the LocalStack test, with the AWS SDK (boto3). Reads one JSON command a line from standard
input, answers each with one JSON line.

  {"do": "topic", "name": ..., "signature_version": "1"|"2"}           -> {"arn": ...}
  {"do": "subscribe", "topic": ARN, "endpoint": URL, "raw"?: bool, "policy"?: {}, "scope"?: ...} -> {"arn": ...}
  {"do": "refusal", "topic": ARN, "policy": {}, "scope": ...}          -> {"refusal": null | text}
  {"do": "subscriptions", "topic": ARN}                                -> {"arns": [...]}
  {"do": "sign", "service", "region", "method", "url", "headers", "body", "date"} -> {"signature", "headers"}
  {"do": "endpoint", "service", "region"}                              -> {"host", "region"}
  {"do": "publish", "topic": ARN, "messages": [{"message", "subject"?, "attributes"?}]} -> {"ids": [...]}
  {"do": "call", "service": "ec2", "region": ..., "operation": "DescribeInstances", "input": {}} -> {"answer": {...}}
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import boto3
from botocore import xform_name
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import ClientError
from botocore.loaders import Loader


# LocalStack takes an access key id of twelve digits for an account.
ACCOUNT = "123456789012"


@cache
def client(service, region, account="test"):
    return boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="test",
        config=Config(max_pool_connections=8, read_timeout=60, s3={"addressing_style": "path"}),
    )


sns = client("sns", "us-east-1")


def topic(name, signature_version):
    arn = sns.create_topic(Name=name)["TopicArn"]
    sns.set_topic_attributes(TopicArn=arn, AttributeName="SignatureVersion", AttributeValue=signature_version)
    return {"arn": arn}


def subscribe(topic, endpoint, raw=False, policy=None, scope=None):
    attributes = {"RawMessageDelivery": "true"} if raw else {}
    if policy is not None:
        attributes |= {"FilterPolicy": json.dumps(policy), "FilterPolicyScope": scope}
    answer = sns.subscribe(
        TopicArn=topic,
        Protocol="http",
        Endpoint=endpoint,
        Attributes=attributes,
        ReturnSubscriptionArn=True,
    )
    return {"arn": answer["SubscriptionArn"]}


def refusal(topic, policy, scope):
    # A queue that is not there: nothing is ever sent to it.
    attributes = {"FilterPolicy": json.dumps(policy), "FilterPolicyScope": scope}
    endpoint = topic.replace(":sns:", ":sqs:")
    try:
        arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint, Attributes=attributes)["SubscriptionArn"]
    except ClientError as error:
        return {"refusal": str(error)}
    sns.unsubscribe(SubscriptionArn=arn)
    return {"refusal": None}


def subscriptions(topic):
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    arns = [each["SubscriptionArn"] for each in listed]
    pending = {
        arn: sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"]
        for arn in arns
        if arn.startswith("arn:")
    }
    return {"arns": [arn for arn in arns if pending.get(arn) == "false"]}


def publish(topic, messages):
    def one(message):
        options = {"TopicArn": topic, "Message": message["message"]}
        if message.get("subject"):
            options["Subject"] = message["subject"]
        if message.get("attributes"):
            options["MessageAttributes"] = message["attributes"]
        return sns.publish(**options)["MessageId"]

    with ThreadPoolExecutor(8) as pool:
        return {"ids": list(pool.map(one, messages))}


def sign(service, region, method, url, headers, body, date):
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials("AKID", "s3cret"), service, region)
    request = AWSRequest(method=method, url=url, headers=headers, data=body.encode())
    # What add_auth does, at another time than now.
    request.context["timestamp"] = date
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    return {"signature": signer.signature(text, request), "headers": names}


loader = Loader()


@cache
def rules(service):
    return EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))


def endpoint(service, region):
    found = rules(service).resolve_endpoint(Region=region, UseFIPS=False, UseDualStack=False)
    schemes = found.properties.get("authSchemes", [{}])
    return {"host": found.url.removeprefix("https://"), "region": schemes[0].get("signingRegion", region)}


def call(service, region, operation, input):
    answer = getattr(client(service, region, ACCOUNT), xform_name(operation))(**input)
    answer.pop("ResponseMetadata", None)
    if hasattr(answer.get("Body"), "read"):
        answer["Body"] = answer["Body"].read().decode()
    return {"answer": answer}


actions = {
    "call": call,
    "endpoint": endpoint,
    "topic": topic,
    "subscribe": subscribe,
    "refusal": refusal,
    "subscriptions": subscriptions,
    "publish": publish,
    "sign": sign,
}

for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps(actions[command.pop("do")](**command), default=str), flush=True)
