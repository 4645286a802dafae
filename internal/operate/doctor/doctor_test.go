package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/queues"
	"tributary/internal/operate/setup"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

// world is an account that setup has been run in.
type world struct {
	t      *testing.T
	queues *sqs.Client
	tables *dynamodb.Client
	doctor Doctor
}

func within(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := stack.New(stack.Options{})
		defer server.Close()
		cfg := stacktest.Config(server)
		w := &world{t: t, queues: sqs.NewFromConfig(cfg), tables: dynamodb.NewFromConfig(cfg)}
		w.doctor = Doctor{
			Queues: w.queues, Tables: w.tables, Items: w.tables, Control: w.tables,
			Queue: "commands", DeadLetters: "commands-dlq", Table: "Table", QueueRegion: "us-east-1", TableRegion: "us-east-1", DrainTimeout: 45 * time.Second,
		}
		does := setup.Setup{Queues: w.queues, Tables: w.tables, Features: w.tables}
		if _, err := does.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: "Table", PointInTimeRecovery: true}); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *world) set(queue, attribute, value string) {
	w.t.Helper()
	url := "http://stack.test/000000000000/" + queue
	if _, err := w.queues.SetQueueAttributes(w.t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{attribute: value}}); err != nil {
		w.t.Fatal(err)
	}
}

// unwell lists the checks that are not ok, with their statuses, and sees to it that each says how to mend it.
func unwell(t *testing.T, checks []Check) string {
	t.Helper()
	var parts []string
	for _, c := range checks {
		if c.Found == "" || c.Name == "" {
			t.Errorf("says nothing: %+v", c)
		}
		if c.Status == OK {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: %s", c.Name, c.Status))
		if c.Status == Warning && c.Remedy == "" {
			t.Errorf("no remedy: %+v", c)
		}
	}
	return strings.Join(parts, ", ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestWhatSetupMadeIsWell(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		checks := w.doctor.Examine(t.Context())
		expect(t, "unwell", unwell(t, checks), "")
		if len(checks) < 20 {
			t.Errorf("only %d checks", len(checks))
		}
		// Looking left nothing behind.
		out, err := w.tables.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("Table")})
		if err != nil || len(out.Items) != 0 {
			t.Errorf("items %v, %v", out, err)
		}
	})
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		queue, attribute, value string
		want                    string
	}{
		"no redrive policy":      {"commands", "RedrivePolicy", "", "redrive policy: failed"},
		"tight redrive policy":   {"commands", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:commands-dlq","maxReceiveCount":5}`, "redrive policy: warning"},
		"no receives to spare":   {"commands", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:commands-dlq","maxReceiveCount":"1"}`, "redrive policy: failed"},
		"short retention":        {"commands-dlq", "MessageRetentionPeriod", "86400", "dead letters' retention: failed"},
		"short visibility":       {"commands", "VisibilityTimeout", "30", "visibility timeout: warning"},
		"short polling":          {"commands", "ReceiveMessageWaitTimeSeconds", "0", "long polling: warning"},
		"queue in clear":         {"commands", "SqsManagedSseEnabled", "false", "encryption of queue: warning"},
		"letters in clear":       {"commands-dlq", "SqsManagedSseEnabled", "false", "encryption of dead letters: warning"},
		"letters move on":        {"commands-dlq", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:commands-dlq-2","maxReceiveCount":5}`, "dead letters stay: warning"},
		"small letters":          {"commands-dlq", "MaximumMessageSize", "262144", "largest message: warning"},
		"queue is not let in":    {"commands-dlq", "RedriveAllowPolicy", `{"redrivePermission":"denyAll"}`, "dead-letter queue lets in: failed"},
		"everybody is let in":    {"commands-dlq", "RedriveAllowPolicy", `{"redrivePermission":"allowAll"}`, ""},
		"a key of one's own":     {"commands", "KmsMasterKeyId", "alias/mine", ""},
		"visibility long enough": {"commands", "VisibilityTimeout", "46", ""},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				if _, err := w.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("commands-dlq-2")}); err != nil {
					t.Fatal(err)
				}
				w.set(c.queue, c.attribute, c.value)
				expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), c.want)
			})
		})
	}
}

// What doctor advises of a dead-letter queue is what setup does.
func TestWhoIsLetInIsAsSetupSeesIt(t *testing.T) {
	policy := func(sources int) string {
		return `{"redrivePermission":"byQueue","sourceQueueArns":["` + strings.Join(slices.Repeat([]string{"arn:aws:sqs:us-east-1:000000000000:other"}, sources), `","`) + `"]}`
	}
	for name, c := range map[string]struct {
		policy string
		mends  bool
	}{
		"nobody":           {`{"redrivePermission":"denyAll"}`, true},
		"another queue":    {policy(1), true},
		"ten other queues": {policy(10), false},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				w.set("commands-dlq", "RedriveAllowPolicy", c.policy)
				find := func() Check {
					checks := w.doctor.Examine(t.Context())
					return checks[slices.IndexFunc(checks, func(c Check) bool { return c.Name == checkAllow })]
				}
				before := find()
				expect(t, "before", string(before.Status), string(Failed))
				does := setup.Setup{Queues: w.queues, Tables: w.tables, Features: w.tables}
				_, err := does.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: "Table", Update: true})
				if c.mends {
					expect(t, "after", fmt.Sprint(find().Status, " ", err), "ok <nil>")
				} else if err == nil || !strings.HasSuffix(err.Error(), before.Remedy) {
					t.Errorf("setup: %v, doctor: %s", err, before.Remedy)
				}
				expect(t, "setup --update is advised", fmt.Sprint(strings.Contains(before.Remedy, "--update")), fmt.Sprint(c.mends))
			})
		})
	}
}

func TestRetentionThatIsEqual(t *testing.T) {
	state := func(seconds string) *queues.Attributes {
		return queues.NewAttributes("q", map[string]string{"MessageRetentionPeriod": seconds})
	}
	for name, c := range map[string]struct {
		queue, letters string
		want           Status
	}{
		"both the longest": {"1209600", "1209600", OK},
		"both short":       {"345600", "345600", Warning},
		"longer":           {"345600", "1209600", OK},
		"shorter":          {"1209600", "345600", Failed},
		"unknown":          {"", "345600", Skipped},
	} {
		expect(t, name, string(settingCheck(checkRetention, state(c.letters), setup.CompareLetters(state(c.letters)),
			types.QueueAttributeNameMessageRetentionPeriod, expiresEarly(state(c.queue), state(c.letters))).Status), string(c.want))
	}
}

func TestAnotherDeadLetterQueue(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		if _, err := w.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("others"), Attributes: map[string]string{"MessageRetentionPeriod": "1209600"}}); err != nil {
			t.Fatal(err)
		}
		w.doctor.DeadLetters = "others"
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "redrive policy: failed")
	})
}

func TestLettersAreAWarning(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		if _, err := w.queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("http://stack.test/000000000000/commands-dlq"), MessageBody: aws.String("x")}); err != nil {
			t.Fatal(err)
		}
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "dead letters: warning")
	})
}

func TestDrainTimeout(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.doctor.DrainTimeout = 60 * time.Second
		expect(t, "too long", unwell(t, w.doctor.Examine(t.Context())), "visibility timeout: warning")
		w.doctor.DrainTimeout = 20 * time.Second
		expect(t, "too short", unwell(t, w.doctor.Examine(t.Context())), "visibility timeout: warning")
	})
}

func TestNothingIsThere(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.doctor.Queue, w.doctor.DeadLetters, w.doctor.Table = "no", "no-dlq", "None"
		checks := w.doctor.Examine(t.Context())
		failures := 0
		for _, c := range checks {
			switch c.Status {
			case Failed:
				failures++
				if !strings.Contains(c.Remedy, "worker setup") {
					t.Errorf("remedy of %+v", c)
				}
			case OK, Warning:
				t.Errorf("%+v", c)
			}
		}
		expect(t, "failures", fmt.Sprint(failures), "3")
	})
}

func TestAnotherRegion(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.doctor.QueueRegion = "eu-north-1"
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "region: warning")
	})
}

func TestTables(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		create := func(name string, keys ...dynamotypes.KeySchemaElement) {
			t.Helper()
			var attributes []dynamotypes.AttributeDefinition
			for _, k := range keys {
				attributes = append(attributes, dynamotypes.AttributeDefinition{AttributeName: k.AttributeName, AttributeType: dynamotypes.ScalarAttributeTypeS})
			}
			if _, err := w.tables.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: &name, KeySchema: keys, AttributeDefinitions: attributes, BillingMode: dynamotypes.BillingModePayPerRequest}); err != nil {
				t.Fatal(err)
			}
		}
		create("Seed", setup.TableKeys()...)
		w.doctor.Table = "Seed"
		expect(t, "the seed's table", unwell(t, w.doctor.Examine(t.Context())),
			"index: warning, TTL: warning, point-in-time recovery: warning, may query the index: skipped")
		create("Other", dynamotypes.KeySchemaElement{AttributeName: aws.String("id"), KeyType: dynamotypes.KeyTypeHash})
		w.doctor.Table = "Other"
		expect(t, "another's table", unwell(t, w.doctor.Examine(t.Context())),
			"keys: failed, index: warning, TTL: warning, point-in-time recovery: warning, may read: skipped, may query: skipped, "+
				"may query the index: skipped, may write conditionally: skipped, may write in batches: skipped, may read control: skipped, "+
				"may query control: skipped, may write control: skipped, may delete control: skipped, may decide: skipped, "+
				"may keep usage: skipped, may report usage: skipped")
	})
}

// denied answers as AWS does where a permission is missing.
type denied struct {
	ItemAPI
	ControlAPI
	QueueAPI
	code string
}

func (d denied) err() error { return &smithy.GenericAPIError{Code: d.code, Fault: smithy.FaultClient} }

func (d denied) PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return nil, d.err()
}

func (d denied) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return nil, d.err()
}

func (d denied) BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return nil, d.err()
}

func (d denied) Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	return nil, d.err()
}

func (d denied) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return nil, d.err()
}

func (d denied) DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	return nil, d.err()
}

func (d denied) DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	return nil, d.err()
}

func (d denied) ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return nil, d.err()
}

func TestMissingPermissions(t *testing.T) {
	for code, want := range map[string]Status{"AccessDeniedException": Failed, "ProvisionedThroughputExceededException": Warning, "InternalServerError": Failed} {
		within(t, func(t *testing.T, w *world) {
			w.doctor.Items = denied{ItemAPI: w.tables, code: code}
			w.doctor.Control = denied{ControlAPI: w.tables, code: code}
			w.doctor.Queues = denied{QueueAPI: w.queues, code: code}
			var parts []string
			for _, name := range []string{"may delete messages", "may change visibility", checkRead, checkQuery, checkByIndex, checkPut, checkBatch} {
				parts = append(parts, fmt.Sprintf("%s: %s", name, want))
			}
			for _, name := range []string{checkControlRead, checkControlQuery, checkControlPut, checkControlDelete, checkDecide, checkUsagePut, checkUsageQuery} {
				status := Warning // a worker works without
				if code == "AccessDeniedException" && (name == checkDecide || name == checkUsageQuery) {
					status = Skipped // and doesn't need these
				}
				parts = append(parts, fmt.Sprintf("%s: %s", name, status))
			}
			checks := w.doctor.Examine(t.Context())
			expect(t, code, unwell(t, checks), strings.Join(parts, ", "))
			for _, c := range checks {
				if code == "AccessDeniedException" && c.Status == Failed && !strings.HasPrefix(c.Remedy, "allow ") {
					t.Errorf("%s: remedy %q", c.Name, c.Remedy)
				}
			}
		})
	}
}

// careless writes whatever the condition says.
type careless struct{ ItemAPI }

func (careless) PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return &dynamodb.PutItemOutput{}, nil
}

func TestAConditionMustBeKept(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.doctor.Items = careless{w.tables}
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "may write conditionally: failed, may write control: warning, may keep usage: warning")
	})
}

func TestReceiptsRefusedAsAWhole(t *testing.T) {
	for err, want := range map[error]Status{
		&types.ReceiptHandleIsInvalid{}: OK, &types.InvalidIdFormat{}: OK, &types.QueueDoesNotExist{}: Failed, errors.New("network"): Failed,
	} {
		expect(t, err.Error(), string(permission("x", "y", "z", err).Status), string(want))
	}
}

func TestClock(t *testing.T) {
	server := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for skew, want := range map[time.Duration]Status{
		0: OK, 2 * time.Second: OK, -20 * time.Second: OK, 40 * time.Second: Warning, -40 * time.Second: Warning, 6 * time.Minute: Failed, -6 * time.Minute: Failed,
	} {
		expect(t, skew.String(), string(clockCheck("clock", server, server.Add(skew)).Status), string(want))
	}
	if c := clockCheck("clock", server, server.Add(-time.Minute)); !strings.Contains(c.Found, "1m0s behind") {
		t.Errorf("found %q", c.Found)
	}
}

func TestOutOfTimeIsNoFailure(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range w.doctor.Examine(ctx) {
			if c.Status != Skipped {
				t.Errorf("%+v", c)
			}
		}
	})
}
