"""Sends commands with boto3: one alone, and several of a tenant packed into one message.

AWS_ENDPOINT_URL, AWS_REGION (or AWS_DEFAULT_REGION) and the rest of boto3's settings say where to.
"""

import json
import os
import sys

import boto3


def send(sqs, queue_url, tenant, commands):
    """Sends one tenant's commands in one message, which may take 1 MiB."""
    sqs.send_message(
        QueueUrl=queue_url,
        MessageBody=json.dumps(commands if len(commands) > 1 else commands[0]),
        MessageGroupId=tenant,  # lets SQS deal fairly among tenants
        MessageAttributes={"tenant_id": {"DataType": "String", "StringValue": tenant}},
    )


def main():
    queue = sys.argv[1] if len(sys.argv) > 1 else "tributary-commands"
    tenant = "pine-cycles"
    # boto3 alone heeds only AWS_DEFAULT_REGION; None leaves the choice to it.
    sqs = boto3.client("sqs", region_name=os.environ.get("AWS_REGION") or None)
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    user = {"type": "put_user", "tenant_id": tenant, "user_id": "u-python",
            "user_name": "Sent by Python", "user_email": f"python@{tenant}.example"}
    send(sqs, url, tenant, [user])

    # Amounts go as strings: a JSON number is exact too, but few languages write all its digits.
    orders = [{"type": "put_order", "tenant_id": tenant, "order_id": f"python-{n}", "user_id": "u-python",
               "order_amount": f"{n}.50", "attributes": {"sent_by": "python"}} for n in range(1, 4)]
    send(sqs, url, tenant, orders)
    print(f"sent {1 + len(orders)} commands to {url}")


if __name__ == "__main__":
    main()
