package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/table"
	"tributary/test/support/commands"
	"tributary/test/support/ddbjson"
	"tributary/test/support/pytools"
)

// program is testdata/tenants.py at work on one table.
type program struct {
	t      *testing.T
	ask    *json.Encoder
	answer *bufio.Scanner
	said   bytes.Buffer // its standard error
}

func startProgram(t *testing.T, endpoint, tableName string) *program {
	tool := pytools.Need(t, pytools.Boto3)
	// Not of the test's own context, which is done before its cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	cmd := exec.CommandContext(ctx, tool.Python, filepath.Join("testdata", "tenants.py"), tableName)
	cmd.Env = append(tool.Env(), "AWS_ENDPOINT_URL_DYNAMODB="+endpoint, "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local")
	p := &program{t: t}
	cmd.Stderr = &p.said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.ask, p.answer = json.NewEncoder(in), bufio.NewScanner(out)
	p.answer.Buffer(nil, 4<<20)
	t.Cleanup(func() {
		defer cancel()
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("tenants.py: %v\n%s", err, &p.said)
		}
	})
	return p
}

// call calls one of its functions and decodes the answer into v.
func (p *program) call(v any, function string, args ...any) {
	p.t.Helper()
	if err := p.ask.Encode(append([]any{function}, args...)); err != nil {
		p.t.Fatalf("%s: %v", function, err)
	}
	if !p.answer.Scan() {
		p.t.Fatalf("%s: no answer", function)
	}
	if err := json.Unmarshal(p.answer.Bytes(), v); err != nil {
		p.t.Fatalf("%s: %v", function, err)
	}
}

// putText puts the item that the worker sends for a command, in the very text that it sends.
func putText(t *testing.T, endpoint, tableName string, c messages.Command) {
	t.Helper()
	body := fmt.Appendf(nil, `{"TableName":%q,"Item":`, tableName)
	body = append(table.AppendItem(body, &c), '}')
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.PutItem")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20000101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("put %s: %s", body, answer.Status)
	}
}

// TestPrograms runs a program that shares the table with Tributary: each reads what the other wrote.
func TestPrograms(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { shareTable(t, embedded(t)) })
	t.Run("emulators", func(t *testing.T) { shareTable(t, emulator(t, "TRIBUTARY_TEST_DYNAMODB")) })
}

func shareTable(t *testing.T, endpoint string) {
	client := dynamodb.NewFromConfig(Config(t, endpoint))
	name := unique()
	p := startProgram(t, endpoint, name)
	var status string
	if p.call(&status, "create_table"); status != "ACTIVE" {
		t.Fatalf("create_table: the table is %s", status)
	}
	t.Cleanup(func() {
		ctx, cancel := afterwards()
		defer cancel()
		_, _ = client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &name})
	})

	// What Tributary writes, the program reads.
	putText(t, endpoint, name, commands.PutUser("tenantA", "u1", "Zoë \"Z\"", "z@example.com"))
	amounts := map[string]string{"o1": "150.00", "o2": "12345678901234567890.123456789012345678", "o3": "-0.10"}
	for id, amount := range amounts {
		putText(t, endpoint, name, commands.Version(commands.PutOrder("tenantA", id, "u1", amount), 7))
	}
	putText(t, endpoint, name, commands.PutOrder("tenantB", "o9", "u1", "1"))
	var user map[string]string
	p.call(&user, "get_user", "tenantA", "u1")
	if want := map[string]string{"PK": "tenant#tenantA", "SK": "user#u1", "user_id": "u1", "user_name": "Zoë \"Z\"", "user_email": "z@example.com"}; !reflect.DeepEqual(user, want) {
		t.Errorf("get_user: got %v, want %v", user, want)
	}
	p.call(&user, "get_user", "tenantB", "u1")
	if user != nil {
		t.Errorf("get_user of another tenant: got %v", user)
	}
	var orders []map[string]string
	p.call(&orders, "get_orders_for_tenant", "tenantA")
	if len(orders) != len(amounts) {
		t.Errorf("get_orders_for_tenant: got %d orders, want %d", len(orders), len(amounts))
	}
	for _, o := range orders {
		want := map[string]string{"o1": "150", "o2": amounts["o2"], "o3": "-0.1"}[o["order_id"]]
		if o["SK"] != "order#"+o["order_id"] || o["user_id"] != "u1" || o["order_amount"] != want || o["version"] != "7" {
			t.Errorf("get_orders_for_tenant: got %v, want order_amount %s", o, want)
		}
	}

	// What the program writes, Tributary reads.
	var userID string
	p.call(&userID, "add_user", "tenantC", "Bob", "bob@example.com")
	var orderIDs []string
	for _, amount := range []string{"99.90", "1E+2"} {
		var id string
		p.call(&id, "add_order", "tenantC", userID, amount)
		orderIDs = append(orderIDs, id)
	}
	slices.Sort(orderIDs)
	out, err := client.Query(t.Context(), &dynamodb.QueryInput{TableName: &name, KeyConditionExpression: aws.String("PK = :pk"),
		ExpressionAttributeValues: table.Attributes{":pk": str(table.PartitionKey("tenantC"))}})
	if err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, item := range out.Items {
		scan := rawjson.New(ddbjson.Item(item))
		stored := table.NewStored(commands.Types)
		stored.Read(&scan)
		key, err := stored.Key()
		if err != nil {
			t.Fatal(err)
		}
		shown, unreadable := stored.AppendShown(nil, key)
		want := []string{fmt.Sprintf(`{"tenant_id":"tenantC","user_id":%q,"user_name":"Bob","user_email":"bob@example.com"}`, userID)}
		if key.Type == commands.Order {
			want = want[:0]
			for _, amount := range []string{"99.9", "100"} {
				want = append(want, fmt.Sprintf(`{"tenant_id":"tenantC","order_id":%q,"user_id":%q,"order_amount":%q}`, key.ID, userID, amount))
			}
			read = append(read, key.ID)
		}
		if len(unreadable) > 0 || !slices.Contains(want, string(shown)) {
			t.Errorf("read %s, want one of %s", shown, want)
		}
	}
	if !slices.Equal(read, orderIDs) {
		t.Errorf("read orders %v, want %v", read, orderIDs)
	}
}
