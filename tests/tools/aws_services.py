"""Prints the services of AWS and how each is spoken to, of the service models of the AWS SDK (botocore): what
`proto/model/src/aws/services.txt` holds. Services that are where no rule says (an account's own host, `api.aws`) are left out,
and so are those that need nothing to be said of them: REST services whose name is the one of their host and signature."""

import botocore
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

# Other names that definitions may use: of the host, or the customary ones.
ALSO = {
    "cloudwatch": ["monitoring"],
    "elbv2": ["elasticloadbalancing"],
    "emr": ["elasticmapreduce"],
    "events": ["eventbridge"],
    "resourcegroupstaggingapi": ["tagging"],
    "ses": ["email"],
    "stepfunctions": ["states"],
}
# Some of their operations are known by name (`rest.rs`), or they are in one place of a partition (`hosts.rs`).
NEEDED = {"batch", "cloudfront", "lambda", "route53", "s3", "scheduler", "sesv2"}
# Calls begin with a question for the host, have an account in it, or are signed as it was done before Signature Version 4.
NOT_BY_RULE = {"importexport", "s3control", "sdb", "timestream-query", "timestream-write"}
# Their lists name their members, as in `Filters.Filter.1`.
PLAIN = {"docdb", "elasticache", "neptune", "rds", "redshift"}


def spoken(name, metadata):
    """Protocol and what it needs; nothing for one that we do not speak."""
    protocols = metadata.get("protocols", [metadata["protocol"]])
    if name == "ec2":
        return ["ec2", metadata["apiVersion"]]
    if "query" in protocols:
        return ["query-plain" if name in PLAIN else "query", metadata["apiVersion"]]
    if "json" in protocols:
        return ["json", metadata["jsonVersion"], metadata["targetPrefix"]]
    if protocols[0] in ("rest-json", "rest-xml"):
        return [protocols[0]]
    return None


def is_found_by_rule(loader, partitions, name):
    rules = loader.load_service_model(name, "endpoint-rule-set-1")
    try:
        found = EndpointProvider(rules, partitions).resolve_endpoint(
            Region="eu-central-1", UseFIPS=False, UseDualStack=False
        )
    except BotoCoreError:
        # It asks for more than a region: buckets and accounts, which paths can name.
        return name in NEEDED
    return found.url.endswith(".amazonaws.com")


def main():
    print(f"# Made by tests/tools/aws_services.py of the service models of the AWS SDK (botocore {botocore.__version__}).")
    print("# Name, first label of the host, name in signatures (-: the name), protocol and what it needs.")
    loader = Loader()
    partitions = loader.load_data("partitions")
    lines = []
    for name in loader.list_available_services("service-2"):
        metadata = loader.load_service_model(name, "service-2")["metadata"]
        spoken_to = spoken(name, metadata)
        if spoken_to is None or name in NOT_BY_RULE or not is_found_by_rule(loader, partitions, name):
            continue
        host = metadata["endpointPrefix"]
        signed = metadata.get("signingName", host)
        if spoken_to[0].startswith("rest") and name == host == signed and name not in NEEDED:
            continue
        for each in [name, *ALSO.get(name, [])]:
            names = ["-" if text == each else text for text in (host, signed)]
            lines.append(" ".join([each, *names, *spoken_to]))
    print("\n".join(sorted(lines)))


main()
