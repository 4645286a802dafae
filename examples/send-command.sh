#!/bin/sh
# Sends one command with the AWS CLI. The queue's name may be given: send-command.sh QUEUE
# AWS_ENDPOINT_URL (AWS CLI 2.13 or newer), AWS_DEFAULT_REGION and the rest of its settings say where to.
set -eu
queue=${1:-tributary-commands}
tenant=north-bakery
url=$(aws sqs get-queue-url --queue-name "$queue" --query QueueUrl --output text)

# The group lets SQS deal fairly among tenants; the attribute lets the worker refuse what is in another tenant's name.
aws sqs send-message \
  --queue-url "$url" \
  --message-group-id "$tenant" \
  --message-attributes "{\"tenant_id\":{\"DataType\":\"String\",\"StringValue\":\"$tenant\"}}" \
  --message-body "{\"type\":\"put_user\",\"tenant_id\":\"$tenant\",\"user_id\":\"u-shell\",\"user_name\":\"Sent by a shell\",\"user_email\":\"shell@$tenant.example\"}"
