package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/base/cli"
	"tributary/internal/table"
)

// tables returns a client of the stack that onStack leads to.
func tables(t *testing.T) *dynamodb.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(os.Getenv("AWS_ENDPOINT_URL")))
	if err != nil {
		t.Fatal(err)
	}
	return dynamodb.NewFromConfig(cfg)
}

// put puts an item whose attributes are strings and numbers.
func put(t *testing.T, pk, sk string, attributes map[string]any) {
	t.Helper()
	item := table.Attributes{"PK": &types.AttributeValueMemberS{Value: pk}, "SK": &types.AttributeValueMemberS{Value: sk}}
	for name, value := range attributes {
		switch v := value.(type) {
		case string:
			item[name] = &types.AttributeValueMemberS{Value: v}
		case json.Number:
			item[name] = &types.AttributeValueMemberN{Value: v.String()}
		case bool:
			item[name] = &types.AttributeValueMemberBOOL{Value: v}
		}
	}
	if _, err := tables(t).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("MultiTenantTable"), Item: item}); err != nil {
		t.Fatal(err)
	}
}

// aWorker is alive and confirms a revision.
func aWorker(t *testing.T, id string, confirmed json.Number) {
	t.Helper()
	put(t, "tributary#control", "worker#"+id, map[string]any{
		"host": "host-" + id, "role": "all", "beat": json.Number("1"), "revision": confirmed, "confirmed": confirmed,
		"updated": time.Now().UTC().Format(time.RFC3339Nano),
	})
}

// TestAnOperatorDecides suspends, limits and resumes a tenant, and looks at it.
func TestAnOperatorDecides(t *testing.T) {
	onStack(t)
	run := func(want int, line string) (out, talk string) {
		t.Helper()
		status, out, talk := command(t, strings.Fields(line)...)
		if status != want {
			t.Fatalf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
		return out, talk
	}
	if _, talk := run(cli.StatusFailed, "tenant suspend acme"); !strings.Contains(talk, "worker setup") {
		t.Errorf("no table: %q", talk)
	}
	run(0, "setup")
	if out, _ := run(0, "tenant list"); out != "nothing is decided about any tenant\n" {
		t.Errorf("list of nothing: %q", out)
	}
	if out, _ := run(0, "tenant suspend acme --reason unpaid --by ann"); out != "acme: suspended, commands stay on the queue\nno worker is alive: it is in force for each that starts\n" {
		t.Errorf("suspend: %q", out)
	}
	aWorker(t, "a", "100")
	if out, _ := run(0, "tenant suspend acme --letters --reads --by ann"); !strings.HasPrefix(out, "acme: suspended, commands become dead letters, reads are stopped\nin force on 1 of 1 worker after 0.") {
		t.Errorf("suspend otherwise: %q", out)
	}
	if out, _ := run(0, "tenant limit acme --write-units 500/s --requests 2.5 --burst 10"); !strings.Contains(out, "at most 500 write units/s, at most 2.5 requests/s, bursts of 10 s") {
		t.Errorf("limit: %q", out)
	}
	if _, talk := run(cli.StatusUsage, "tenant limit nobody --burst 10"); !strings.Contains(talk, "has no limit") {
		t.Errorf("a burst of nothing: %q", talk)
	}
	aWorker(t, "late", "0")
	var late struct {
		Tenant   struct{ Status string }
		Revision int64
		Workers  struct{ Confirmed, Missing []struct{ Worker string } }
	}
	out, talk := run(cli.StatusFailed, "tenant resume acme --timeout 1ms -o json")
	decode(t, out, &late)
	if late.Tenant.Status != "active" || late.Revision != 4 || len(late.Workers.Confirmed) != 1 || len(late.Workers.Missing) != 1 ||
		late.Workers.Missing[0].Worker != "late" || !strings.Contains(talk, "host-late") || strings.Contains(talk, "host-a") {
		t.Errorf("resume: %q, %q", out, talk)
	}
	if out, _ := run(0, "tenant limit acme --none --no-wait"); out != "acme: active\nrevision 5: the workers obey it within seconds\n" {
		t.Errorf("no limit: %q", out)
	}
	run(0, "tenant suspend other --no-wait")
	if out, _ := run(0, "tenant list --status suspended"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "other") {
		t.Errorf("list: %q", out)
	}
	var list struct {
		Tenants []struct{ Tenant, Status string }
	}
	out, _ = run(0, "tenant -o json")
	if decode(t, out, &list); len(list.Tenants) != 1 || list.Tenants[0].Tenant != "other" || list.Tenants[0].Status != "suspended" {
		t.Errorf("list: %q", out)
	}
	if out, _ := run(0, "tenant show other"); !strings.Contains(out, "other: suspended") || !strings.Contains(out, "host-late") || !strings.Contains(out, "CONFIRMED, OF 6") {
		t.Errorf("show: %q", out)
	}
	var audit struct {
		Audit []struct{ Action, By, Reason string }
	}
	out, _ = run(0, "tenant audit acme -o json")
	if decode(t, out, &audit); len(audit.Audit) != 5 || audit.Audit[0].Action != "limit" || audit.Audit[4].By != "ann" || audit.Audit[4].Reason != "unpaid" ||
		!strings.Contains(audit.Audit[0].By, "@") {
		t.Errorf("audit: %q", out)
	}
	if out, _ := run(0, "tenant audit --limit 2"); strings.Count(out, "\n") != 3 {
		t.Errorf("audit: %q", out)
	}
}

func TestWrongUsageOfTenantCommands(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	for _, line := range []string{
		"tenant show", "tenant show a#b", "tenant suspend _x", "tenant suspend a --timeout 0s", "tenant limit a", "tenant limit a --none --burst 2",
		"tenant limit a --write-units 0", "tenant limit a --write-units -1/s", "tenant limit a --requests NaN", "tenant limit a --requests Inf",
		"tenant limit a --write-units 5 --burst 0.5", "tenant limit a --write-units 5/m", "tenant audit --limit 0", "tenant audit a/b", "tenant list --status gone",
		"tenant suspend a --reason " + strings.Repeat("x", 501),
	} {
		status, out, talk := command(t, strings.Fields(line)...)
		if status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.HasPrefix(talk, "worker: ") {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
	for _, line := range []string{"tenant list", "tenant show a", "tenant suspend a", "tenant audit"} {
		status, out, talk := command(t, strings.Fields(line)...)
		if status != cli.StatusFailed || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, "no answer from http://127.0.0.1:1") {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
}

// TestAnOperatorErases erases a tenant that has items and a letter, and another keeps its own.
func TestAnOperatorErases(t *testing.T) {
	client := onStack(t)
	run := func(want int, line string) (out, talk string) {
		t.Helper()
		status, out, talk := command(t, strings.Fields(line)...)
		if status != want {
			t.Fatalf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
		return out, talk
	}
	run(0, "setup")
	for _, tenant := range []string{"acme", "other"} {
		put(t, "tenant#"+tenant, "user#u1", map[string]any{"user_id": "u1", "user_name": "n", "user_email": "e"})
		put(t, "tenant#"+tenant, "order#o1", map[string]any{"user_id": "u1", "order_amount": json.Number("1.5")})
	}
	dlq, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("tributary-commands-dlq")})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v string) sqstypes.MessageAttributeValue {
		return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: dlq.QueueUrl, MessageBody: aws.String("x"),
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{"reason": text("malformed"), "tenant_id": text("acme")}}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"tenant erase acme", "tenant erase acme --confirm other", "tenant erase acme --confirm acme --out " + t.TempDir()} {
		if _, talk := run(cli.StatusUsage, line); strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: %q", line, talk)
		}
	}
	if out, _ := run(0, "tenant erase acme --dry-run"); !strings.HasPrefix(out, "acme: 2 items (order 1, user 1, tombstones 0, other 0) and 1 letter would be erased\n") {
		t.Errorf("dry run: %q", out)
	}
	file := filepath.Join(t.TempDir(), "certificate.json")
	out, talk := run(0, "tenant erase acme --confirm acme --by ann --out "+file)
	if !strings.Contains(out, "2 items (order 1, user 1, tombstones 0, other 0)") || !strings.Contains(talk, "deleting items") {
		t.Errorf("erase: %q, %q", out, talk)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var certificate struct {
		By      string
		Ended   *time.Time
		Letters struct{ Removed int }
	}
	if decode(t, string(written), &certificate); certificate.By != "ann" || certificate.Ended == nil || certificate.Letters.Removed != 1 {
		t.Errorf("certificate %s", written)
	}
	if again, _ := run(0, "tenant erase acme --confirm acme -o json"); again != string(written) {
		t.Errorf("erased again: %s", again)
	}
	if _, talk := run(cli.StatusFailed, "tenant suspend acme"); !strings.Contains(talk, "erased by ann") {
		t.Errorf("suspend the erased: %q", talk)
	}
	if _, talk := run(cli.StatusFailed, "tenant resume acme"); !strings.Contains(talk, "--after-erasure") {
		t.Errorf("resume the erased: %q", talk)
	}
	if out, _ := run(0, "tenant resume acme --after-erasure --no-wait"); !strings.HasPrefix(out, "acme: active\n") {
		t.Errorf("resume: %q", out)
	}
	if out, _ := run(0, "tenant erase other --dry-run"); !strings.HasPrefix(out, "other: 2 items") {
		t.Errorf("the other tenant: %q", out)
	}
}

func TestAnOperatorExports(t *testing.T) {
	onStack(t)
	if status, _, talk := command(t, "setup"); status != 0 {
		t.Fatal(talk)
	}
	put(t, "tenant#acme", "user#u1", map[string]any{"user_id": "u1", "user_name": "n", "user_email": "e"})
	put(t, "tenant#acme", "user#u0", map[string]any{"deleted": true, "version": json.Number("3")})
	directory := filepath.Join(t.TempDir(), "acme")
	status, out, talk := command(t, "tenant", "export", "acme", "--to", directory)
	if want := "acme: 2 items in " + directory + ", not consistent: the tenant was not suspended all the time\n"; status != 0 || out != want {
		t.Errorf("status %d, out %q, talk %q", status, out, talk)
	}
	if text, err := os.ReadFile(filepath.Join(directory, "users.ndjson")); err != nil || string(text) != `{"tenant_id":"acme","user_id":"u1","user_name":"n","user_email":"e"}`+"\n" {
		t.Errorf("users: %q, %v", text, err)
	}
	if status, out, talk := command(t, "tenant", "export", "acme", "--to", directory); status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 {
		t.Errorf("again: status %d, out %q, talk %q", status, out, talk)
	}
	status, out, _ = command(t, "tenant", "export", "acme", "-o", "json", "--to", filepath.Join(t.TempDir(), "again"))
	var manifest struct{ Items int }
	if decode(t, out, &manifest); status != 0 || manifest.Items != 2 {
		t.Errorf("status %d, %s", status, out)
	}
}
