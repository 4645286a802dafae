#!/bin/sh
# Creates what `worker setup` creates: the queue, its dead-letter queue and the table. LocalStack runs it as an init
# hook; beside DynamoDB Local and ElasticMQ a container of its own runs it. It may run again: what is there stays.
set -eu

queue=${TRIBUTARY_QUEUE:-tributary-commands}
table=${TRIBUTARY_TABLE:-MultiTenantTable}
case $queue in
*.fifo) dlq=${TRIBUTARY_DLQ:-${queue%.fifo}-dlq.fifo} fifo='"FifoQueue":"true","DeduplicationScope":"messageGroup","FifoThroughputLimit":"perMessageGroupId",' ;;
*) dlq=${TRIBUTARY_DLQ:-$queue-dlq} fifo='' ;;
esac
common=$fifo'"MessageRetentionPeriod":"1209600","MaximumMessageSize":"1048576","SqsManagedSseEnabled":"true"'

# In LocalStack's own container awslocal knows where to call; elsewhere the endpoints come by environment variables.
if command -v awslocal >/dev/null; then
	aws() { awslocal "$@"; }
fi

if ! aws sqs get-queue-url --queue-name "$dlq" >/dev/null 2>&1; then
	aws sqs create-queue --queue-name "$dlq" --attributes "{$common}" >/dev/null
fi
dlq_url=$(aws sqs get-queue-url --queue-name "$dlq" --query QueueUrl --output text)
dlq_arn=$(aws sqs get-queue-attributes --queue-url "$dlq_url" --attribute-names QueueArn --query Attributes.QueueArn --output text)
if ! aws sqs get-queue-url --queue-name "$queue" >/dev/null 2>&1; then
	aws sqs create-queue --queue-name "$queue" --attributes "{$common,
		\"VisibilityTimeout\":\"60\",\"ReceiveMessageWaitTimeSeconds\":\"20\",
		\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":\\\"$dlq_arn\\\",\\\"maxReceiveCount\\\":100}\"}" >/dev/null
fi
queue_url=$(aws sqs get-queue-url --queue-name "$queue" --query QueueUrl --output text)
queue_arn=$(aws sqs get-queue-attributes --queue-url "$queue_url" --attribute-names QueueArn --query Attributes.QueueArn --output text)
# An emulator that does not know who may use a dead-letter queue lets everybody.
aws sqs set-queue-attributes --queue-url "$dlq_url" --attributes "{
	\"RedriveAllowPolicy\":\"{\\\"redrivePermission\\\":\\\"byQueue\\\",\\\"sourceQueueArns\\\":[\\\"$queue_arn\\\"]}\"}" ||
	echo "create.sh: $dlq stays open to all queues" >&2

if ! aws dynamodb describe-table --table-name "$table" >/dev/null 2>&1; then
	aws dynamodb create-table --table-name "$table" --billing-mode PAY_PER_REQUEST \
		--attribute-definitions AttributeName=PK,AttributeType=S AttributeName=SK,AttributeType=S AttributeName=user_id,AttributeType=S \
		--key-schema AttributeName=PK,KeyType=HASH AttributeName=SK,KeyType=RANGE \
		--global-secondary-indexes '[{"IndexName":"orders_by_user","Projection":{"ProjectionType":"ALL"},"KeySchema":[
			{"AttributeName":"PK","KeyType":"HASH"},{"AttributeName":"user_id","KeyType":"RANGE"},{"AttributeName":"SK","KeyType":"RANGE"}]}]' >/dev/null
	aws dynamodb wait table-exists --table-name "$table"
	aws dynamodb update-time-to-live --table-name "$table" \
		--time-to-live-specification Enabled=true,AttributeName=expires_at >/dev/null
fi
echo "create.sh: $queue, $dlq and $table are there"
