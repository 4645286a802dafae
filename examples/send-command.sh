#!/bin/sh
# Sends one command with the AWS CLI. The queue's name may be given: send-command.sh QUEUE
# AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the rest of the AWS CLI's settings say where to.
set -eu

# Version 1 of the AWS CLI takes the endpoint of SQS from its flag alone.
sqs() { aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} sqs "$@"; }

queue=${1:-tributary-commands}
tenant=north-bakery
url=$(sqs get-queue-url --queue-name "$queue" --query QueueUrl --output text)

# The group lets SQS deal fairly among tenants; the attribute lets the worker refuse what is in another tenant's name.
sqs send-message \
  --queue-url "$url" \
  --message-group-id "$tenant" \
  --message-attributes "{\"tenant_id\":{\"DataType\":\"String\",\"StringValue\":\"$tenant\"}}" \
  --message-body "{\"type\":\"put_user\",\"tenant_id\":\"$tenant\",\"user_id\":\"u-shell\",\"user_name\":\"Sent by a shell\",\"user_email\":\"shell@$tenant.example\"}"
