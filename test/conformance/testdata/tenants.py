"""A reader and writer of the multi-tenant table that knows nothing of Tributary: plain boto3 on the layout.

It stands for the programs that used the table before Tributary came. Run with the table's name; it takes one JSON
list a line from standard input, ["function", argument, ...], and answers each with one line of JSON.
"""

import json
import sys
import uuid
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Key

dynamodb = boto3.resource("dynamodb")
TABLE = sys.argv[1]


def create_table():
    table = dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[
            {"AttributeName": "PK", "KeyType": "HASH"},
            {"AttributeName": "SK", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "PK", "AttributeType": "S"},
            {"AttributeName": "SK", "AttributeType": "S"},
        ],
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
    )
    table.wait_until_exists()
    return table.table_status


def add_user(tenant_id, user_name, user_email):
    user_id = str(uuid.uuid4())
    dynamodb.Table(TABLE).put_item(
        Item={
            "PK": f"tenant#{tenant_id}",
            "SK": f"user#{user_id}",
            "user_id": user_id,
            "user_name": user_name,
            "user_email": user_email,
        }
    )
    return user_id


def add_order(tenant_id, user_id, order_amount):
    # Orders of this writer have no order_id: it is in the key alone.
    order_id = str(uuid.uuid4())
    dynamodb.Table(TABLE).put_item(
        Item={
            "PK": f"tenant#{tenant_id}",
            "SK": f"order#{order_id}",
            "user_id": user_id,
            "order_amount": Decimal(order_amount),
        }
    )
    return order_id


def get_user(tenant_id, user_id):
    answer = dynamodb.Table(TABLE).get_item(
        Key={"PK": f"tenant#{tenant_id}", "SK": f"user#{user_id}"}
    )
    return answer.get("Item")


def get_orders_for_tenant(tenant_id):
    condition = Key("PK").eq(f"tenant#{tenant_id}") & Key("SK").begins_with("order#")
    answer = dynamodb.Table(TABLE).query(KeyConditionExpression=condition)
    return answer["Items"]


FUNCTIONS = {
    f.__name__: f
    for f in (create_table, add_user, add_order, get_user, get_orders_for_tenant)
}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    # A Decimal goes out as text: JSON numbers would lose digits on the way.
    print(json.dumps(FUNCTIONS[name](*arguments), default=str), flush=True)
