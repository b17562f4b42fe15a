"""Prints which elements of AWS's answers in XML are lists and maps, of the service models of the AWS SDK (botocore):
what `proto/model/src/aws/lists.txt` holds, by names in signatures. An element that is something else in another place of the
same service is left out; then its form has to tell."""

import textwrap
from collections import defaultdict

import botocore
from botocore.loaders import Loader

# Services with answers in XML, by their names in signatures: some share one.
SERVICES = {
    "autoscaling": ["autoscaling"],
    "cloudformation": ["cloudformation"],
    "cloudfront": ["cloudfront"],
    "ec2": ["ec2"],
    "elasticache": ["elasticache"],
    "elasticbeanstalk": ["elasticbeanstalk"],
    "elasticloadbalancing": ["elb", "elbv2"],
    "iam": ["iam"],
    "monitoring": ["cloudwatch"],
    "rds": ["rds", "docdb", "neptune"],
    "redshift": ["redshift"],
    "route53": ["route53"],
    "s3": ["s3"],
    "ses": ["ses"],
    "sns": ["sns"],
}


def kinds(model, found):
    """Adds what each element of the model's outputs is."""
    shapes = model["shapes"]
    operations = [each for each in model["operations"].values() if not each.get("deprecated")]
    open_ = [each["output"]["shape"] for each in operations if "output" in each]
    seen = set()
    while open_:
        name = open_.pop()
        if name in seen:
            continue
        seen.add(name)
        shape = shapes[name]
        if shape["type"] == "list":
            open_.append(shape["member"]["shape"])
        elif shape["type"] == "map":
            open_.append(shape["value"]["shape"])
        elif shape["type"] == "structure":
            for member, reference in shape["members"].items():
                open_.append(reference["shape"])
                target = shapes[reference["shape"]]
                # Headers are no elements, and a payload is the root.
                if "location" in reference or member == shape.get("payload"):
                    continue
                element = reference.get("locationName", member)
                kind = target["type"] if target["type"] in ("list", "map", "structure") else "scalar"
                if kind == "list" and target.get("flattened"):
                    kind = "flat"
                    element = target["member"].get("locationName", element)
                    of_maps = shapes[target["member"]["shape"]]["type"] == "structure"
                    kind = "flat-maps" if of_maps else "flat"
                found[element].add(kind)


def main():
    print(f"# Made by tests/tools/aws_lists.py of the service models of the AWS SDK (botocore {botocore.__version__}).")
    loader = Loader()
    for service, names in SERVICES.items():
        found = defaultdict(set)
        for name in names:
            kinds(loader.load_service_model(name, "service-2"), found)
        by_kind = defaultdict(list)
        for element, each in found.items():
            # A list of maps is told from a text by its form.
            each = each - {"scalar"} if "flat-maps" in each else each
            if len(each) == 1:
                kind = each.pop().removesuffix("-maps")
                by_kind[kind].append(element)
        for kind in ("list", "flat", "map"):
            if by_kind[kind]:
                print(f"[{service} {kind}]")
                print(textwrap.fill(" ".join(sorted(by_kind[kind])), 120, break_on_hyphens=False))


main()
