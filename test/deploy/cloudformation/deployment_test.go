package cloudformation_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lines collects what a program says and lets a test wait for a part of it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await asks until a condition holds; it fails the test after half a minute.
func await(t *testing.T, what string, said *lines, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within half a minute\n%s", what, said)
		}
	}
}

func start(t *testing.T, cmd *exec.Cmd) *lines {
	t.Helper()
	said := &lines{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return said
}

func stop(t *testing.T, cmd *exec.Cmd, said *lines) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("program ended with %v\n%s", err, said)
	}
}

// TestDeployedStack deploys the template on moto, has the doctor look at it, moves commands through it, asks for them, and
// compares every call that the programs made with what the template's policies allow: each may do what it does, and
// nothing more.
func TestDeployedStack(t *testing.T) {
	moto := startMoto(t)
	outputs := deploy(t, moto, "tributary", map[string]string{"QueueName": "orders", "TableName": "Shared"})
	at := moto.String()

	checks := run(t, at, "worker", "doctor", "--queue", "orders", "--table", "Shared", "--output", "json")
	var found struct {
		Checks []struct{ Name, Status, Found string }
	}
	if err := json.Unmarshal([]byte(checks), &found); err != nil || len(found.Checks) < 10 {
		t.Fatalf("doctor's report: %v\n%s", err, checks)
	}
	// moto's CloudFormation leaves these two properties of a table out; AWS's does not.
	leftOut := []string{"TTL", "point-in-time recovery"}
	for _, c := range found.Checks {
		if slices.Contains(leftOut, c.Name) {
			continue
		}
		if c.Status == "failed" || c.Status == "warning" {
			t.Errorf("doctor: %s: %s: %s", c.Name, c.Status, c.Found)
		}
	}

	producer := newFront(t, moto)
	run(t, producer.URL, "producer", "put-user", "--queue", "orders", "--tenant", "tenantA", "--id", "u0", "--user-name", "n", "--user-email", "e")
	run(t, producer.URL, "producer", "put-order", "--queue", "orders", "--tenant", "tenantA", "--user-id", "u0", "--id", "o1", "--order-amount", "150.00", "--item-version", "3")
	post(t, moto, "orders", `{"type":"put_user","tenant_id":"tenantA"}`)              // a dead letter
	post(t, moto, "orders-dlq", "another's letter")                                   // an erasure leaves it
	post(t, moto, "orders", `{"type":"delete_user","tenant_id":"hot","user_id":"u"}`) // handed back when the worker stops

	consume := newFront(t, moto)
	consume.set(func() { consume.policy = policy(t, moto, outputs["WorkerPolicyArn"]) })
	refuse := func(operation string, body []byte) bool {
		return operation == "BatchWriteItem" && bytes.Contains(body, []byte("tenant#hot"))
	}
	consume.set(func() { consume.refuse = refuse })
	worker := program(t, consume.URL, "worker", "run", "--role", "consume", "--queue", "orders", "--table", "Shared", "--admin-listen", "127.0.0.1:0", "--drain-timeout", "8s")
	said := start(t, worker)
	await(t, "all calls of a worker", said, func() bool {
		return has(consume, "sqs:SendMessage orders-dlq") && has(consume, "sqs:DeleteMessage orders") &&
			has(consume, "dynamodb:BatchWriteItem table/Shared") && has(consume, "dynamodb:PutItem table/Shared")
	})
	time.Sleep(time.Second) // the deletes that are batched still
	stop(t, worker, said)
	if !regexp.MustCompile(`\d messages received: 3 deleted, [12] handed back, 0 left on the queue; 3 commands settled, 1 dead letter`).MatchString(said.String()) {
		t.Errorf("the worker's account:\n%s", said)
	}

	query := newFront(t, moto)
	query.set(func() { query.policy = policy(t, moto, outputs["QueryPolicyArn"]) })
	address := freeAddress(t)
	reader := program(t, query.URL, "worker", "run", "--role", "query", "--table", "Shared", "--listen", address, "--admin-listen", "127.0.0.1:0", "--reader-role", outputs["ReaderRoleArn"])
	said = start(t, reader)
	tenant := "http://" + address + "/v1/tenants/tenantA"
	await(t, "the query API", said, func() bool { status, _ := get(tenant + "/users/u0"); return status == http.StatusOK })
	for path, want := range map[string]string{
		"/users/u0": `"user_name":"n"`, "/orders/o1": `"order_amount":"150"`, "/users": `"u0"`, "/orders": `"version":3`, "/users/u0/orders": `"o1"`,
	} {
		if status, body := get(tenant + path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	stop(t, reader, said)

	operator := newFront(t, moto)
	operator.set(func() { operator.policy = policy(t, moto, outputs["OperatorPolicyArn"]) })
	operate(t, operator)

	for _, c := range []struct {
		program string
		made    []request
		policy  string
	}{
		{"producer", needed(producer, producer.asked), "ProducerPolicyArn"},
		{"worker run --role consume", needed(consume, consume.asked), "WorkerPolicyArn"},
		{"worker run --role query", needed(query, query.asked), "QueryPolicyArn"},
		{"worker tenant", needed(operator, operator.asked), "OperatorPolicyArn"},
	} {
		comparePolicy(t, c.program, c.policy, policy(t, moto, outputs[c.policy]), c.made)
	}
	// The reader role's tag is only known to IAM: its sessions here are of one tenant.
	reads := policy(t, moto, outputs["ReaderPolicyArn"])
	tagged := slices.Clone(reads)
	for i := range tagged {
		tagged[i].Condition = map[string]map[string]oneOrMore{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": {"tenant#tenantA"}}}
	}
	comparePolicy(t, "the reader role", "ReaderPolicyArn", tagged, needed(query, query.lent))
	tryOtherKeys(t, moto, outputs)

	// Whatever the reader role may do is tied to the tenant that its session is tagged with.
	for _, s := range policy(t, moto, outputs["ReaderPolicyArn"]) {
		keys := s.Condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]
		if len(keys) != 1 || keys[0] != "tenant#${aws:PrincipalTag/tenant_id}" || s.Condition["Null"]["dynamodb:LeadingKeys"][0] != "false" || s.Condition["Null"]["aws:PrincipalTag/tenant_id"][0] != "false" {
			t.Errorf("statement %s doesn't keep to the session's tenant: %v", s.Sid, s.Condition)
		}
	}
}

// comparePolicy sees to it that a policy allows each request that a program made, and that each part of each statement is for one.
func comparePolicy(t *testing.T, program, name string, statements []statement, made []request) {
	t.Helper()
	for _, r := range made {
		if !allowed(statements, r) {
			t.Errorf("%s calls %q with the keys %q, which %s doesn't allow", program, r.permission, r.keys, name)
		}
	}
	for _, s := range statements {
		for _, permission := range s.permissions() {
			if !slices.ContainsFunc(made, func(r request) bool { return permits(permission, r.permission) && s.allows(r) }) {
				t.Errorf("statement %s of %s allows %q, which %s never did", s.Sid, name, permission, program)
			}
		}
	}
	t.Logf("%s: %d requests", program, len(made))
}

// operate runs every command about tenants, and sees that each succeeds with what the front allows.
func operate(t *testing.T, at *front) {
	t.Helper()
	worker := func(arguments ...string) string {
		t.Helper()
		return run(t, at.URL, "worker", append([]string{"tenant"}, append(arguments, "--queue", "orders", "--table", "Shared")...)...)
	}
	if used := worker("usage", "tenantA", "--csv", "--from", "1h"); !regexp.MustCompile(`(?m)^tenantA,,2,0,0,1,0,2,0,.*,[1-9]\d*,[0-9.]+,[0-9.]+$`).MatchString(used) {
		t.Errorf("the workers kept of tenantA's usage:\n%s", used)
	}
	worker("suspend", "tenantA", "--reason", "test")
	worker("limit", "tenantA", "--write-units", "5/s")
	if shown := worker("show", "tenantA"); !strings.Contains(shown, "tenantA: suspended") {
		t.Errorf("shown is\n%s", shown)
	}
	worker("export", "tenantA", "--to", filepath.Join(t.TempDir(), "export"))
	worker("resume", "tenantA")
	worker("list")
	worker("audit")
	if erased := worker("erase", "tenantA", "--confirm", "tenantA"); !strings.Contains(erased, "2 items") || !regexp.MustCompile(`(?m)^letters +1$`).MatchString(erased) {
		t.Errorf("erased is\n%s", erased)
	}
}

// tryOtherKeys has the front enforce each policy on requests that have no business there, and has doctor look with the worker's.
func tryOtherKeys(t *testing.T, moto *url.URL, outputs map[string]string) {
	t.Helper()
	const table = " table/Shared"
	for name, requests := range map[string][]request{
		"WorkerPolicyArn": {
			{"dynamodb:GetItem" + table, "tenant#tenantA\n"}, {"dynamodb:Query" + table, "tenant#tenantA\n"}, {"dynamodb:Query" + table, ""},
			{"dynamodb:DeleteItem" + table, "tenant#tenantA\n"}, {"dynamodb:PutItem" + table, "other\n"}, {"dynamodb:Query" + table, "tributary#usage#2026-01-31T15\n"},
			{"dynamodb:UpdateItem" + table, "tributary#control\n"}, {"dynamodb:DeleteItem" + table, "tributary#usage#2026-01-31T15\n"},
			{"dynamodb:BatchWriteItem" + table, "tenant#tenantA\ntributary#control\n"},
		},
		"QueryPolicyArn": {
			{"dynamodb:GetItem" + table, "tenant#tenantA\n"}, {"dynamodb:PutItem" + table, "tenant#tenantA\n"}, {"dynamodb:UpdateItem" + table, "tributary#control\n"},
			{"dynamodb:Query" + table, "tributary#control#2\n"},
		},
		"OperatorPolicyArn": {
			{"dynamodb:PutItem" + table, "tenant#tenantA\n"}, {"dynamodb:PutItem" + table, "tributary#usage#2026-01-31T15\n"},
			{"dynamodb:BatchWriteItem" + table, "tributary#control\n"}, {"dynamodb:DeleteItem" + table, "tributary#control\n"}, {"sqs:DeleteMessage orders", ""},
		},
		"ReaderPolicyArn": {{"dynamodb:GetItem" + table, "tributary#control\n"}, {"dynamodb:Query" + table, "tributary#usage#2026-01-31T15\n"}},
	} {
		statements := policy(t, moto, outputs[name])
		for _, r := range requests {
			if allowed(statements, r) {
				t.Errorf("%s allows %q with the keys %q", name, r.permission, r.keys)
			}
		}
	}
	worker := newFront(t, moto)
	worker.set(func() { worker.policy = policy(t, moto, outputs["WorkerPolicyArn"]) })
	out, _ := program(t, worker.URL, "worker", "doctor", "--queue", "orders", "--table", "Shared").CombinedOutput() // a worker may not read tenants
	for check, want := range map[string]string{
		"may read control": "ok", "may query control": "ok", "may write control": "ok", "may delete control": "ok", "may keep usage": "ok",
		"may write conditionally": "ok", "may write in batches": "ok", "may decide": "skipped", "may report usage": "skipped", "may read": "FAILED",
	} {
		if !regexp.MustCompile(`(?m)^` + want + ` +` + check + `  `).Match(out) {
			t.Errorf("with the worker's policy, doctor's check %q is not %s:\n%s", check, want, out)
		}
	}
}

// permits says whether a permission is for a call. The one wildcard that a permission may have is for the table's indexes, whose names
// follow from the declared types; every other * permits nothing here, and is found.
func permits(permission, call string) bool {
	indexes, all := strings.CutSuffix(permission, "/index/*")
	if index, ok := strings.CutPrefix(call, indexes+"/index/"); all && ok {
		return index != "" && !strings.Contains(indexes, "*")
	}
	return permission == call && !strings.Contains(permission, "*")
}

// TestEveryPartDeploys has moto make the stack with everything that is optional.
func TestEveryPartDeploys(t *testing.T) {
	moto := startMoto(t)
	var groups struct {
		ID []string `xml:"securityGroupInfo>item>groupId"`
	}
	types := filepath.Join(t.TempDir(), "types.yaml") // the workers run here, not in the image
	if err := os.WriteFile(types, []byte("types:\n  patient:\n  visit:\n    fields:\n      patient_id: {type: string, references: patient}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, moto, "ec2", url.Values{"Action": {"DescribeSecurityGroups"}, "Version": {"2016-11-15"}}, &groups)
	outputs := deploy(t, moto, "everything", map[string]string{
		"QueueName": "orders", "Fifo": "true", "TableName": "Shared", "Image": "registry.example/tributary:1", "VpcId": "vpc-12345678", "SubnetIds": "subnet-12345678",
		"QueryTargetGroupArn":        "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/t/1",
		"QueryClientSecurityGroupId": groups.ID[0], "AuthJwks": "https://issuer.example/jwks", "AuthIssuer": "https://issuer.example", "AuthAudience": "tributary",
		"AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms", "OtlpEndpoint": "http://collector.example:4318", "TypesFile": types,
	})
	if !strings.HasSuffix(outputs["QueueUrl"], "/orders.fifo") || !strings.HasSuffix(outputs["DeadLetterQueueUrl"], "/orders-dlq.fifo") {
		t.Errorf("queues are %s and %s", outputs["QueueUrl"], outputs["DeadLetterQueueUrl"])
	}
	run(t, moto.String(), "worker", "doctor", "--queue", "orders.fifo", "--table", "Shared")
	run(t, moto.String(), "worker", "setup", "--update", "--queue", "orders.fifo", "--table", "Shared", "--types", types)
	report := run(t, moto.String(), "worker", "doctor", "--queue", "orders.fifo", "--table", "Shared", "--types", types)
	if !strings.Contains(report, "visits_by_patient: hash PK, range patient_id, SK") {
		t.Errorf("the stack's table lacks the index of declared types:\n%s", report)
	}
	tryEnvironments(t, moto, types)
}

// tryEnvironments starts the worker with the environment of each container that the stack would run, but with nothing at
// AWS's address: settings that it takes make it end with status 1 there, settings that it refuses with status 2 before. Each has
// the file of types.
func tryEnvironments(t *testing.T, moto *url.URL, types string) {
	help := run(t, moto.String(), "worker", "run", "--help")
	var tasks struct {
		ARNs []string `json:"taskDefinitionArns"`
	}
	const ecs = "AmazonEC2ContainerServiceV20141113."
	call(t, moto, "ecs", ecs+"ListTaskDefinitions", struct{}{}, &tasks)
	roles := map[string]bool{}
	for _, arn := range tasks.ARNs {
		var found struct {
			TaskDefinition struct {
				ContainerDefinitions []struct {
					Name        string
					Command     []string
					Environment []struct{ Name, Value string }
				}
			}
		}
		call(t, moto, "ecs", ecs+"DescribeTaskDefinition", map[string]string{"taskDefinition": arn}, &found)
		for _, container := range found.TaskDefinition.ContainerDefinitions {
			worker := program(t, "http://127.0.0.1:1", "worker", container.Command...)
			worker.Env = append(worker.Env, "AWS_MAX_ATTEMPTS=1")
			declared := ""
			for _, e := range container.Environment {
				switch {
				case e.Name == "TRIBUTARY_ROLE":
					roles[e.Value] = true
				case strings.HasPrefix(e.Name, "OTEL_"):
					continue // there is no collector
				case e.Name == "TRIBUTARY_TYPES":
					declared = e.Value
				case strings.HasPrefix(e.Name, "TRIBUTARY_") && !regexp.MustCompile(`\$`+e.Name+`\b`).MatchString(help):
					t.Errorf("container %s has %s, which no flag reads", container.Name, e.Name)
				}
				worker.Env = append(worker.Env, e.Name+"="+e.Value)
			}
			if declared != types {
				t.Errorf("container %s has the types of %q", container.Name, declared)
			}
			said, _ := worker.CombinedOutput()
			if status := worker.ProcessState.ExitCode(); status != 1 {
				t.Errorf("with the environment of container %s the worker ends with status %d:\n%s", container.Name, status, said)
			}
		}
	}
	if !roles["consume"] || !roles["query"] || len(roles) != 2 {
		t.Errorf("the stack runs the roles %v", roles)
	}
}

// post sends a body as another upstream system would.
func post(t *testing.T, at *url.URL, queue, body string) {
	t.Helper()
	var ignored struct{}
	call(t, at, "sqs", "AmazonSQS.SendMessage", map[string]string{"QueueUrl": at.String() + "/123456789012/" + queue, "MessageBody": body}, &ignored)
}

func get(url string) (int, string) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
