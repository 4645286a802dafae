package setup

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

// world is an account with nothing in it.
type world struct {
	t      *testing.T
	queues *sqs.Client
	tables *dynamodb.Client
	setup  Setup
}

// within runs a test in a bubble, where waiting costs no time.
func within(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := stack.New(stack.Options{})
		defer server.Close()
		cfg := stacktest.Config(server)
		w := &world{t: t, queues: sqs.NewFromConfig(cfg), tables: dynamodb.NewFromConfig(cfg)}
		w.setup = Setup{Queues: w.queues, Tables: w.tables, Features: w.tables}
		test(t, w)
	})
}

func plan() *Plan { return &Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: "Table"} }

func (w *world) run(p *Plan) []Resource {
	w.t.Helper()
	done, err := w.setup.Run(w.t.Context(), p)
	if err != nil {
		w.t.Fatalf("run: %v", err)
	}
	return done
}

// outcomes writes what became of each resource, and the settings that differed.
func outcomes(done []Resource) string {
	var parts []string
	for _, r := range done {
		text := string(r.Outcome)
		for _, d := range r.Differences {
			text += " " + d.Setting
			if d.Updated {
				text += "!"
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func (w *world) attributes(name string) map[string]string {
	w.t.Helper()
	url, err := w.queues.GetQueueUrl(w.t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.queues.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url.QueueUrl, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Attributes
}

func (w *world) describe(name string) *dynamotypes.TableDescription {
	w.t.Helper()
	out, err := w.tables.DescribeTable(w.t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Table
}

func TestEverythingIsMadeAndMakingItAgainChangesNothing(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		expect(t, "first", outcomes(w.run(plan())), "created; created; created")
		queue, letters := w.attributes("commands"), w.attributes("commands-dlq")
		for name, want := range map[string]string{
			"VisibilityTimeout": "60", "MessageRetentionPeriod": "1209600", "ReceiveMessageWaitTimeSeconds": "20",
			"MaximumMessageSize": "1048576", "SqsManagedSseEnabled": "true",
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:commands-dlq","maxReceiveCount":100}`,
		} {
			expect(t, "queue's "+name, queue[name], want)
		}
		for name, want := range map[string]string{
			"MessageRetentionPeriod": "1209600", "MaximumMessageSize": "1048576", "SqsManagedSseEnabled": "true",
			"RedriveAllowPolicy": `{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:commands"]}`,
		} {
			expect(t, "dead-letter queue's "+name, letters[name], want)
		}
		description := w.describe("Table")
		expect(t, "keys", KeysText(description.KeySchema), "hash PK, range SK")
		expect(t, "index", KeysText(description.GlobalSecondaryIndexes[0].KeySchema), "hash PK, range user_id, SK")
		ttl, err := w.tables.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: aws.String("Table")})
		if err != nil || CompareTTL("Table", ttl.TimeToLiveDescription) != nil {
			t.Errorf("TTL: %+v, %v", ttl, err)
		}
		expect(t, "again", outcomes(w.run(plan())), "unchanged; unchanged; unchanged")
		if after := w.attributes("commands"); !maps.Equal(queue, after) {
			t.Errorf("the queue changed: %v, %v", queue, after)
		}
	})
}

func TestFIFO(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		p.Queue, p.DeadLetters = "x.fifo", "x-dlq.fifo"
		expect(t, "first", outcomes(w.run(p)), "created; created; created")
		for _, name := range []string{"x.fifo", "x-dlq.fifo"} {
			a := w.attributes(name)
			expect(t, name, a["FifoQueue"]+" "+a["DeduplicationScope"]+" "+a["FifoThroughputLimit"], "true messageGroup perMessageGroupId")
		}
		expect(t, "again", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
	})
}

// seed makes what somebody may have had before: queues by SQS's defaults and the seed's table.
func (w *world) seed(p *Plan) {
	w.t.Helper()
	for _, name := range []string{p.Queue, p.DeadLetters} {
		if _, err := w.queues.CreateQueue(w.t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"SqsManagedSseEnabled": "false"}}); err != nil {
			w.t.Fatal(err)
		}
	}
	_, err := w.tables.CreateTable(w.t.Context(), &dynamodb.CreateTableInput{
		TableName: &p.Table, KeySchema: TableKeys(), AttributeDefinitions: keyAttributes(nil),
		ProvisionedThroughput: &dynamotypes.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(5), WriteCapacityUnits: aws.Int64(5)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

const (
	lettersDiffer = "retention encryption"
	queueDiffers  = "visibility timeout long polling retention encryption dead-letter queue"
	tableDiffers  = "index orders_by_user TTL"
)

// all marks every setting of a list.
func all(settings, mark string) string {
	for _, s := range []string{
		"visibility timeout", "long polling", "retention", "encryption", "index orders_by_user", "TTL",
	} {
		settings = strings.Replace(settings, s, s+mark, 1)
	}
	if head, found := strings.CutSuffix(settings, "dead-letter queue"); found {
		settings = head + "dead-letter queue" + mark
	}
	return settings
}

func TestWhatIsThereIsComparedAndChangedOnlyOnDemand(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		w.seed(p)
		before := w.attributes("commands")
		differs := "differs " + lettersDiffer + "; differs " + queueDiffers + "; differs " + tableDiffers
		expect(t, "compared", outcomes(w.run(p)), differs)
		if after := w.attributes("commands"); !maps.Equal(before, after) {
			t.Errorf("the queue changed: %v, %v", before, after)
		}
		p.Update = true
		updated := "updated " + all(lettersDiffer, "!") + "; updated " + all(queueDiffers, "!") + "; updated " + all(tableDiffers, "!")
		expect(t, "updated", outcomes(w.run(p)), updated)
		p.Update = false
		expect(t, "afterwards", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
	})
}

func TestCapacityAndProtection(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		p.ReadCapacity, p.WriteCapacity = 5, 5
		w.run(p)
		description := w.describe("Table")
		units := func(d *dynamotypes.ProvisionedThroughputDescription) string {
			return fmt.Sprint(aws.ToInt64(d.ReadCapacityUnits), aws.ToInt64(d.WriteCapacityUnits))
		}
		expect(t, "table", units(description.ProvisionedThroughput), "5 5")
		expect(t, "index", units(description.GlobalSecondaryIndexes[0].ProvisionedThroughput), "5 5")
		// Nobody asks about capacity: whatever it has is as it should be.
		expect(t, "not asked", outcomes(w.run(plan())), "unchanged; unchanged; unchanged")
		p.ReadCapacity, p.DeletionProtection, p.PointInTimeRecovery = 7, true, true
		expect(t, "asked", outcomes(w.run(p)), "unchanged; unchanged; differs billing deletion protection point-in-time recovery")
		p.Update = true
		expect(t, "updated", outcomes(w.run(p)), "unchanged; unchanged; updated billing! deletion protection! point-in-time recovery!")
		expect(t, "again", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
		expect(t, "table afterwards", units(w.describe("Table").ProvisionedThroughput), "7 5")
	})
}

func TestATableWithOtherKeysIsRefused(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		_, err := w.tables.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: aws.String("Table"), BillingMode: dynamotypes.BillingModePayPerRequest,
			KeySchema:            []dynamotypes.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: dynamotypes.KeyTypeHash}},
			AttributeDefinitions: []dynamotypes.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: dynamotypes.ScalarAttributeTypeS}},
		})
		if err != nil {
			t.Fatal(err)
		}
		p := plan()
		p.Update = true
		done := w.run(p)
		got := done[2]
		expect(t, "outcomes", outcomes(done), "created; created; differs keys")
		if !got.Differences[0].Fatal || got.Differences[0].Remedy == "" {
			t.Errorf("difference %+v", got.Differences[0])
		}
	})
}

func TestURLsWorkLikeNames(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		first := w.run(plan())
		p := plan()
		p.Queue, p.DeadLetters = first[1].URL, first[0].URL
		expect(t, "by URL", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
		p.Queue = strings.Replace(first[1].URL, "commands", "others", 1)
		p.DeadLetters = strings.Replace(first[0].URL, "commands", "others", 1)
		expect(t, "made by URL", outcomes(w.run(p)), "created; created; unchanged")
		p.Queue, p.DeadLetters = "http://stack.test/999999999999/elsewhere", "elsewhere-dlq"
		if _, err := w.setup.Run(t.Context(), p); err == nil {
			t.Error("a queue was made in another account than the URL's, and nothing said")
		}
	})
}

func TestADeadLetterQueueOfOthers(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.run(plan())
		p := plan()
		p.Queue = "second" // the dead-letter queue lets in only the first
		_, err := w.setup.Run(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), "--update") {
			t.Fatalf("error %v", err)
		}
		p.Update = true
		expect(t, "updated", outcomes(w.run(p)), "updated queues that may use it!; created; unchanged")
		expect(t, "both are let in", w.attributes("commands-dlq")["RedriveAllowPolicy"],
			`{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:commands","arn:aws:sqs:us-east-1:000000000000:second"]}`)
		p = plan()
		p.DeadLetters = "other-dlq"
		expect(t, "another one", outcomes(w.run(p)), "created; differs dead-letter queue; unchanged")
	})
}

const allowAttribute = string(types.QueueAttributeNameRedriveAllowPolicy)

// allow makes a dead-letter queue that others use, with a policy that says who may.
func (w *world) allow(name, policy string) {
	w.t.Helper()
	attributes := map[string]string{allowAttribute: policy}
	if policy == "" {
		attributes = nil
	}
	if _, err := w.queues.CreateQueue(w.t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes}); err != nil {
		w.t.Fatal(err)
	}
}

func TestASharedDeadLetterQueueIsNotTakenFromOthers(t *testing.T) {
	for name, policy := range map[string]string{
		"no policy":  "",
		"allowAll":   `{"redrivePermission":"allowAll"}`,
		"ours named": `{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:other","arn:aws:sqs:us-east-1:000000000000:commands"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				p := plan()
				p.DeadLetters, p.Update = "shared", true
				w.allow(p.DeadLetters, policy)
				if done := w.run(p); strings.Contains(outcomes(done[:1]), "may use it") {
					t.Errorf("first: %s", outcomes(done))
				}
				expect(t, "who may use it", w.attributes("shared")[allowAttribute], policy)
				expect(t, "again", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
			})
		})
	}
}

func TestADeadLetterQueueThatNamesAsManyAsItMay(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		var arns []string
		for n := range maxAllowedSources {
			arns = append(arns, fmt.Sprintf("arn:aws:sqs:us-east-1:000000000000:other-%d", n))
		}
		policy := `{"redrivePermission":"byQueue","sourceQueueArns":["` + strings.Join(arns, `","`) + `"]}`
		w.allow("shared", policy)
		p := plan()
		p.DeadLetters = "shared"
		refused := func(what string) {
			t.Helper()
			_, err := w.setup.Run(t.Context(), p)
			if err == nil || !strings.Contains(err.Error(), allowFull) || strings.Contains(err.Error(), "--update") {
				t.Errorf("%s: error %v", what, err)
			}
			expect(t, what+": who may use it", w.attributes("shared")[allowAttribute], policy)
		}
		refused("to be compared")
		p.Update = true
		refused("to be updated")
		if _, err := w.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &p.Queue}); err != nil {
			t.Fatal(err)
		}
		refused("with a queue that is there")
		p.Update = false
		done := w.run(p) // compares and changes nothing
		if d := done[0].Differences; len(d) == 0 || d[len(d)-1].Remedy != allowFull {
			t.Errorf("compared: %+v", d)
		}
	})
}

func TestCompareAllow(t *testing.T) {
	const arn = "arn:aws:sqs:us-east-1:1:q"
	only := `{"redrivePermission":"byQueue","sourceQueueArns":["` + arn + `"]}`
	for name, c := range map[string]struct {
		policy  string
		made    bool
		permits bool
		mended  string // "" where nothing differs
	}{
		"made":      {"", true, true, only},
		"none":      {"", false, true, ""},
		"allowAll":  {`{"redrivePermission":"allowAll"}`, false, true, ""},
		"denyAll":   {`{"redrivePermission":"denyAll"}`, false, false, only},
		"named":     {`{"redrivePermission":"byQueue","sourceQueueArns":["a","` + arn + `"]}`, false, true, ""},
		"not named": {`{"redrivePermission":"byQueue","sourceQueueArns":["a"]}`, false, false, `{"redrivePermission":"byQueue","sourceQueueArns":["a","` + arn + `"]}`},
	} {
		d, permits, err := CompareAllow(queues.NewAttributes("q", map[string]string{"RedriveAllowPolicy": c.policy}), arn, c.made)
		if err != nil {
			t.Fatal(err)
		}
		mended := ""
		if d != nil {
			mended = d.value
		}
		expect(t, name, fmt.Sprint(permits, " ", mended), fmt.Sprint(c.permits, " ", c.mended))
	}
	if _, _, err := CompareAllow(queues.NewAttributes("q", map[string]string{"RedriveAllowPolicy": "{"}), arn, false); err == nil {
		t.Error("a policy that can't be read is accepted")
	}
}

func TestAKeyOfTheUsersOwnIsEncryptionToo(t *testing.T) {
	attributes := map[string]string{"SqsManagedSseEnabled": "false"}
	if d := compare(sharedSettings(false), queues.NewAttributes("q", attributes)); len(d) != 1 || d[0].Setting != "encryption" {
		t.Errorf("without a key: %+v", d)
	}
	attributes["KmsMasterKeyId"] = "alias/mine"
	if d := compare(sharedSettings(false), queues.NewAttributes("q", attributes)); len(d) != 0 {
		t.Errorf("with a key: %+v", d)
	}
}

func TestCompareTTL(t *testing.T) {
	for name, c := range map[string]struct {
		ttl    *dynamotypes.TimeToLiveDescription
		want   string
		remedy bool
	}{
		"unknown":   {nil, "off: tombstones of versioned deletes stay for ever", false},
		"disabled":  {&dynamotypes.TimeToLiveDescription{TimeToLiveStatus: dynamotypes.TimeToLiveStatusDisabled}, "off: tombstones of versioned deletes stay for ever", false},
		"enabled":   {&dynamotypes.TimeToLiveDescription{TimeToLiveStatus: dynamotypes.TimeToLiveStatusEnabled, AttributeName: aws.String(table.TTLAttribute)}, "", false},
		"enabling":  {&dynamotypes.TimeToLiveDescription{TimeToLiveStatus: dynamotypes.TimeToLiveStatusEnabling, AttributeName: aws.String(table.TTLAttribute)}, "", false},
		"another":   {&dynamotypes.TimeToLiveDescription{TimeToLiveStatus: dynamotypes.TimeToLiveStatusEnabled, AttributeName: aws.String("gone")}, "on gone", true},
		"disabling": {&dynamotypes.TimeToLiveDescription{TimeToLiveStatus: dynamotypes.TimeToLiveStatusDisabling}, "being turned off", true},
	} {
		d := CompareTTL("Table", c.ttl)
		is, remedy := "", false
		if d != nil {
			is, remedy = d.Is, d.Remedy != ""
		}
		expect(t, name, fmt.Sprint(is, remedy), fmt.Sprint(c.want, c.remedy))
	}
}

func TestCompareIndex(t *testing.T) {
	orders := schema.Builtin().References[0]
	index := func(projection dynamotypes.ProjectionType, keys ...dynamotypes.KeySchemaElement) *dynamotypes.TableDescription {
		return &dynamotypes.TableDescription{TableName: aws.String("Table"), GlobalSecondaryIndexes: []dynamotypes.GlobalSecondaryIndexDescription{{
			IndexName: aws.String(orders.Index), KeySchema: keys, Projection: &dynamotypes.Projection{ProjectionType: projection},
		}}}
	}
	if d := CompareIndex(index(dynamotypes.ProjectionTypeAll, IndexKeys(orders)...), orders); d != nil {
		t.Errorf("as it should be: %+v", d)
	}
	if d := CompareIndex(&dynamotypes.TableDescription{}, orders); d == nil || d.Remedy != "" {
		t.Errorf("none: %+v", d)
	}
	if d := CompareIndex(index(dynamotypes.ProjectionTypeAll, TableKeys()...), orders); d == nil || d.Remedy == "" {
		t.Errorf("other keys: %+v", d)
	}
	if d := CompareIndex(index(dynamotypes.ProjectionTypeKeysOnly, IndexKeys(orders)...), orders); d == nil || d.Remedy == "" {
		t.Errorf("keys only: %+v", d)
	}
}

// slowTables is DynamoDB as AWS has it: a table takes its time, and can't be changed meanwhile.
type slowTables struct {
	TableAPI
	TableFeatureAPI
	described   int
	ready       time.Time // of table and index
	recoverable time.Time // when backups can be turned on
	status      dynamotypes.TableStatus
}

const tableTakes, indexTakes, backupsTake = 20 * time.Second, 90 * time.Second, 30 * time.Second

func (s *slowTables) CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, o ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error) {
	s.ready, s.recoverable = time.Now().Add(tableTakes), time.Now().Add(tableTakes+backupsTake)
	return s.TableAPI.CreateTable(ctx, in, o...)
}

func (s *slowTables) UpdateTable(ctx context.Context, in *dynamodb.UpdateTableInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateTableOutput, error) {
	if time.Now().Before(s.ready) {
		return nil, &dynamotypes.ResourceInUseException{}
	}
	s.ready = time.Now().Add(indexTakes)
	return s.TableAPI.UpdateTable(ctx, in, o...)
}

func (s *slowTables) DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	s.described++
	out, err := s.TableAPI.DescribeTable(ctx, in, o...)
	if err == nil && s.status != "" {
		out.Table.TableStatus = s.status
	} else if err == nil && time.Now().Before(s.ready) {
		out.Table.TableStatus = dynamotypes.TableStatusUpdating
		if s.described%2 == 0 { // the table may be there before its index
			out.Table.TableStatus = dynamotypes.TableStatusActive
			if len(out.Table.GlobalSecondaryIndexes) > 0 {
				out.Table.GlobalSecondaryIndexes[0].IndexStatus = dynamotypes.IndexStatusCreating
			} else {
				out.Table.TableStatus = dynamotypes.TableStatusCreating
			}
		}
	}
	return out, err
}

func (s *slowTables) UpdateTimeToLive(ctx context.Context, in *dynamodb.UpdateTimeToLiveInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error) {
	if time.Now().Before(s.ready) {
		return nil, &dynamotypes.ResourceInUseException{}
	}
	return s.TableFeatureAPI.UpdateTimeToLive(ctx, in, o...)
}

func (s *slowTables) UpdateContinuousBackups(ctx context.Context, in *dynamodb.UpdateContinuousBackupsInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateContinuousBackupsOutput, error) {
	if time.Now().Before(s.recoverable) {
		return nil, &dynamotypes.ContinuousBackupsUnavailableException{}
	}
	return s.TableFeatureAPI.UpdateContinuousBackups(ctx, in, o...)
}

func TestItWaitsForTheTable(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		slow := &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables}
		w.setup.Tables, w.setup.Features = slow, slow
		p := plan()
		p.PointInTimeRecovery = true
		began := time.Now()
		expect(t, "made", outcomes(w.run(p)), "created; created; created")
		expect(t, "took", time.Since(began).String(), (tableTakes + backupsTake).String())
	})
}

func TestItWaitsForTheIndexAndTells(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		w.seed(p)
		slow := &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables}
		w.setup.Tables, w.setup.Features = slow, slow
		told := 0
		w.setup.Progress = func(string) { told++ }
		p.Update = true
		began := time.Now()
		w.run(p)
		expect(t, "took", time.Since(began).String(), indexTakes.String())
		expect(t, "told", fmt.Sprint(told), "2")
	})
}

func TestItStopsWaitingWhenItsTimeIsOver(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		slow := &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables}
		w.setup.Tables, w.setup.Features = slow, slow
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		done, err := w.setup.Run(ctx, plan())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		expect(t, "done by then", outcomes(done), "created; created; created")
	})
}

func TestATableThatIsGoingIsNotWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.run(plan())
		slow := &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables, status: dynamotypes.TableStatusDeleting}
		w.setup.Tables, w.setup.Features = slow, slow
		_, err := w.setup.Run(t.Context(), plan())
		if state, ok := errors.AsType[*TableStateError](err); !ok || state.Status != dynamotypes.TableStatusDeleting {
			t.Errorf("error %v", err)
		}
	})
}

// olderQueues is an endpoint that doesn't know an attribute.
type olderQueues struct{ QueueAPI }

func (q olderQueues) SetQueueAttributes(ctx context.Context, in *sqs.SetQueueAttributesInput, o ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error) {
	if _, given := in.Attributes["RedriveAllowPolicy"]; given {
		return nil, &types.InvalidAttributeName{}
	}
	return q.QueueAPI.SetQueueAttributes(ctx, in, o...)
}

// olderTables is an endpoint that lacks an operation.
type olderTables struct{ TableFeatureAPI }

func (olderTables) DescribeContinuousBackups(context.Context, *dynamodb.DescribeContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeContinuousBackupsOutput, error) {
	return nil, &smithy.GenericAPIError{Code: "UnknownOperationException"}
}

func (olderTables) UpdateContinuousBackups(context.Context, *dynamodb.UpdateContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateContinuousBackupsOutput, error) {
	return nil, &smithy.GenericAPIError{Code: "UnknownOperationException"}
}

func TestWhatAnEndpointLacksIsToldAndNotFatal(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.setup.Queues, w.setup.Features = olderQueues{w.queues}, olderTables{w.tables}
		p := plan()
		p.PointInTimeRecovery = true
		expect(t, "first", outcomes(w.run(p)), "created queues that may use it; created; created point-in-time recovery")
		p.Update = true
		done := w.run(p)
		expect(t, "again", outcomes(done), "unchanged; unchanged; differs point-in-time recovery")
		if done[2].Differences[0].Remedy == "" {
			t.Errorf("not told: %+v", done)
		}
	})
}

// slowQueues knows a queue only some time after it was made.
type slowQueues struct {
	QueueAPI
	made time.Time
}

func (q *slowQueues) CreateQueue(ctx context.Context, in *sqs.CreateQueueInput, o ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error) {
	if in.Attributes["RedrivePolicy"] != "" && time.Since(q.made) < 3*time.Second {
		return nil, &types.InvalidAttributeValue{Message: aws.String("dead-letter target does not exist")}
	}
	if q.made.IsZero() {
		q.made = time.Now()
	}
	return q.QueueAPI.CreateQueue(ctx, in, o...)
}

func (q *slowQueues) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, o ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	if time.Since(q.made) < 2*time.Second {
		return nil, &types.QueueDoesNotExist{}
	}
	return q.QueueAPI.GetQueueAttributes(ctx, in, o...)
}

func TestAQueueThatWasJustMadeMayTakeAWhile(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.setup.Queues = &slowQueues{QueueAPI: w.queues}
		expect(t, "made", outcomes(w.run(plan())), "created; created; created")
	})
}

func TestAQueueThatWasJustDeletedIsExplained(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.setup.Queues = deletedQueues{w.queues}
		_, err := w.setup.Run(t.Context(), plan())
		if err == nil || !strings.Contains(err.Error(), "less than a minute ago") {
			t.Errorf("error %v", err)
		}
	})
}

type deletedQueues struct{ QueueAPI }

func (deletedQueues) CreateQueue(context.Context, *sqs.CreateQueueInput, ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error) {
	return nil, &types.QueueDeletedRecently{}
}

func TestNumbersForPeople(t *testing.T) {
	for given, want := range map[string]string{
		"0": "0 s", "60": "60 s", "120": "2 min", "3600": "60 min", "7200": "2 h", "86400": "1 day", "1209600": "14 days", "90": "90 s", "x": "x",
	} {
		expect(t, given, Seconds(given), want)
	}
	for given, want := range map[int]string{1 << 20: "1 MiB", 256 << 10: "256 KiB", 1000: "1000 bytes", 1024: "1 KiB"} {
		expect(t, fmt.Sprint(given), Bytes(given), want)
	}
}

// What the worker checks at its start is what setup compares. A key of another type, be it an index's, would make DynamoDB
// refuse good commands, which would end as dead letters.
func TestCheckTable(t *testing.T) {
	key := func(name string, kind dynamotypes.KeyType) dynamotypes.KeySchemaElement {
		return dynamotypes.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	for name, test := range map[string]struct {
		keys  string            // hash and range
		types map[string]string // S where it has none
		index string            // hash key of another index
		wrong string            // part of the error
	}{
		"setup's":                       {keys: "PK SK"},
		"other keys":                    {keys: "id SK", wrong: "has the keys hash id, range SK"},
		"no range":                      {keys: "PK", wrong: "has the keys hash PK"},
		"numbers for the hash key":      {keys: "PK SK", types: map[string]string{"PK": "N"}, wrong: "PK of type N"},
		"bytes for the range key":       {keys: "PK SK", types: map[string]string{"SK": "B"}, wrong: "SK of type B"},
		"an index of users by number":   {keys: "PK SK", types: map[string]string{"user_id": "N"}, index: "user_id", wrong: "user_id of type N"},
		"an index of amounts as text":   {keys: "PK SK", index: "order_amount", wrong: "order_amount of type S"},
		"an index of amounts":           {keys: "PK SK", types: map[string]string{"order_amount": "N"}, index: "order_amount"},
		"an index of what others write": {keys: "PK SK", types: map[string]string{"theirs": "B"}, index: "theirs"},
		"an index of what is not a key": {keys: "PK SK", index: "attributes", wrong: "attributes of type S"},
		"an index of names":             {keys: "PK SK", index: "user_name"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				names := strings.Fields(test.keys)
				in := &dynamodb.CreateTableInput{TableName: aws.String("Table"), BillingMode: dynamotypes.BillingModePayPerRequest}
				for i, n := range names {
					in.KeySchema = append(in.KeySchema, key(n, []dynamotypes.KeyType{dynamotypes.KeyTypeHash, dynamotypes.KeyTypeRange}[i]))
				}
				if test.index != "" {
					names = append(names, test.index)
					in.GlobalSecondaryIndexes = []dynamotypes.GlobalSecondaryIndex{{
						IndexName: aws.String("other"), KeySchema: []dynamotypes.KeySchemaElement{key(test.index, dynamotypes.KeyTypeHash)},
						Projection: &dynamotypes.Projection{ProjectionType: dynamotypes.ProjectionTypeKeysOnly},
					}}
				}
				for _, n := range names {
					kind := dynamotypes.ScalarAttributeTypeS
					if k := test.types[n]; k != "" {
						kind = dynamotypes.ScalarAttributeType(k)
					}
					in.AttributeDefinitions = append(in.AttributeDefinitions, dynamotypes.AttributeDefinition{AttributeName: aws.String(n), AttributeType: kind})
				}
				if _, err := w.tables.CreateTable(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				err := CheckTable(t.Context(), w.tables, "Table", schema.Builtin())
				if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
					t.Errorf("%v, want %q", err, test.wrong)
				}
			})
		})
	}
	within(t, func(t *testing.T, w *world) {
		if no, missing := errors.AsType[*NoTableError](CheckTable(t.Context(), w.tables, "Table", schema.Builtin())); !missing || no.Region != "us-east-1" {
			t.Error("a table that isn't there is not told from others")
		}
	})
}
