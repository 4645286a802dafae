package cloudformation_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/test/support/pytools"
)

// startMoto starts moto, which has a CloudFormation, and returns its address.
func startMoto(t *testing.T) *url.URL {
	t.Helper()
	tool := pytools.Need(t, pytools.Moto)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, tool.Python, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])")
	cmd.Env = tool.Env()
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	read := make(chan struct{})
	var said strings.Builder
	go func() {
		defer close(read)
		defer close(address)
		running := regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if found := running.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			} else if said.Len() < 10_000 {
				said.WriteString(lines.Text() + "\n")
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-read; _ = cmd.Wait() })
	text, ok := <-address
	if !ok {
		t.Fatalf("moto did not start:\n%s", said.String())
	}
	at, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// ask makes a call of AWS's query protocol and decodes the answer.
func ask(t *testing.T, at *url.URL, service string, form url.Values, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s\n%s", service, form.Get("Action"), answer.Status, body)
	}
	if err := xml.Unmarshal(body, into); err != nil {
		t.Fatalf("%s %s: %v\n%s", service, form.Get("Action"), err, body)
	}
}

// call makes a call of AWS's JSON protocols and decodes the answer.
func call(t *testing.T, at *url.URL, service, target string, in, into any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", target)
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", target, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", target, err)
	}
}

// deploy makes a stack of tributary.yaml and returns its outputs.
func deploy(t *testing.T, at *url.URL, name string, parameters map[string]string) map[string]string {
	t.Helper()
	return deployTemplate(t, at, "../../../deploy/cloudformation/tributary.yaml", name, parameters)
}

// deployTemplate makes a stack of a template and returns its outputs.
func deployTemplate(t *testing.T, at *url.URL, path, name string, parameters map[string]string) map[string]string {
	t.Helper()
	template, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"Action": {"CreateStack"}, "Version": {"2010-05-15"}, "StackName": {name}, "TemplateBody": {string(template)}, "Capabilities.member.1": {"CAPABILITY_IAM"}}
	i := 1
	for key, value := range parameters {
		form.Set(fmt.Sprintf("Parameters.member.%d.ParameterKey", i), key)
		form.Set(fmt.Sprintf("Parameters.member.%d.ParameterValue", i), value)
		i++
	}
	var ignored struct{}
	ask(t, at, "cloudformation", form, &ignored)
	var stacks struct {
		Status  string `xml:"DescribeStacksResult>Stacks>member>StackStatus"`
		Outputs []struct {
			Key   string `xml:"OutputKey"`
			Value string `xml:"OutputValue"`
		} `xml:"DescribeStacksResult>Stacks>member>Outputs>member"`
	}
	ask(t, at, "cloudformation", url.Values{"Action": {"DescribeStacks"}, "Version": {"2010-05-15"}, "StackName": {name}}, &stacks)
	if stacks.Status != "CREATE_COMPLETE" {
		t.Fatalf("stack is %s", stacks.Status)
	}
	outputs := map[string]string{}
	for _, o := range stacks.Outputs {
		outputs[o.Key] = o.Value
	}
	return outputs
}

// statement is one of a policy's, as far as these tests judge it.
type statement struct {
	Sid       string
	Effect    string
	Action    oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore
}

type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

func policy(t *testing.T, at *url.URL, arn string) []statement {
	t.Helper()
	var answer struct {
		Document string `xml:"GetPolicyVersionResult>PolicyVersion>Document"`
	}
	ask(t, at, "iam", url.Values{"Action": {"GetPolicyVersion"}, "Version": {"2010-05-08"}, "PolicyArn": {arn}, "VersionId": {"v1"}}, &answer)
	text, err := url.QueryUnescape(answer.Document)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Statement []statement }
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatalf("policy %s: %v\n%s", arn, err, text)
	}
	return document.Statement
}

// request is what a call needs: an action on the last part of a resource's ARN, and of DynamoDB the partition keys that it names.
type request struct {
	permission string // such as "dynamodb:Query table/Shared"
	keys       string // each followed by a line feed
}

// allows says whether a statement allows a request. Conditions other than those on leading keys are never met.
func (s *statement) allows(r request) bool {
	permitted := slices.ContainsFunc(s.permissions(), func(p string) bool { return permits(p, r.permission) })
	keys := slices.Collect(strings.Lines(r.keys))
	for operator, condition := range s.Condition {
		for name, values := range condition {
			switch {
			case name != "dynamodb:LeadingKeys":
				return false
			case operator == "Null":
				permitted = permitted && values[0] == "false" && len(keys) > 0
			case operator == "ForAllValues:StringEquals", operator == "ForAllValues:StringLike":
				for _, key := range keys {
					permitted = permitted && slices.ContainsFunc(values, func(v string) bool { return like(strings.TrimSuffix(key, "\n"), v, operator) })
				}
			default:
				return false
			}
		}
	}
	return s.Effect == "Allow" && permitted
}

// like compares a key with a value of a condition, whose one wildcard may be at its end.
func like(key, value, operator string) bool {
	if prefix, any := strings.CutSuffix(value, "*"); any && strings.HasSuffix(operator, "StringLike") {
		return strings.HasPrefix(key, prefix)
	}
	return key == value
}

// permissions are the pairs of an action and the last part of a resource's ARN that a statement is about.
func (s *statement) permissions() []string {
	var all []string
	for _, action := range s.Action {
		for _, resource := range s.Resource {
			part := strings.SplitN(resource, ":", 6)
			all = append(all, action+" "+part[len(part)-1])
		}
	}
	return all
}

// allowed says whether a policy allows a request.
func allowed(policy []statement, r request) bool {
	return slices.ContainsFunc(policy, func(s statement) bool { return s.allows(r) })
}

// front passes calls on to moto and notes which permissions they need.
type front struct {
	*httptest.Server

	mu    sync.Mutex
	asked map[request]bool // of the program's own credentials; guarded by mu
	lent  map[request]bool // of credentials from STS; guarded by mu

	// policy is enforced on the program's own credentials. Nil: they may do everything.
	policy []statement

	// refuse answers a call as DynamoDB does when a key range is hot, if it returns true. Nil: it never does.
	refuse func(operation string, body []byte) bool
}

// own is the access key of every program's own credentials.
const own = "AKIAOWN"

var accessKey = regexp.MustCompile(`Credential=([^/]+)/`)

func newFront(t *testing.T, at *url.URL) *front {
	t.Helper()
	f := &front{asked: map[request]bool{}, lent: map[request]bool{}}
	pass := httputil.NewSingleHostReverseProxy(at)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		target := r.Header.Get("X-Amz-Target")
		_, operation, _ := strings.Cut(target, ".")
		if !f.note(r, target, body) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no statement allows it"}`))
			return
		}
		f.mu.Lock()
		refuse := f.refuse
		f.mu.Unlock()
		if refuse != nil && refuse(operation, body) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"hot"}`))
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// set changes the front's fields while programs may call it.
func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// note notes what a call needs, and says whether it may be made.
func (f *front) note(r *http.Request, target string, body []byte) bool {
	key := accessKey.FindStringSubmatch(r.Header.Get("Authorization"))
	isOwn := key != nil && key[1] == own
	may := true
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, need := range needs(target, body) {
		if !isOwn {
			f.lent[need] = true
			continue
		}
		f.asked[need] = true
		may = may && (f.policy == nil || allowed(f.policy, need))
	}
	return may
}

// needs are the requests that a call is to IAM.
func needs(target string, body []byte) []request {
	service, operation, json_ := strings.Cut(target, ".")
	if !json_ {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil
		}
		last := strings.SplitN(form.Get("RoleArn"), ":", 6)
		all := []request{{permission: "sts:" + form.Get("Action") + " " + last[len(last)-1]}}
		if form.Has("Tags.member.1.Key") {
			all = append(all, request{permission: "sts:TagSession " + last[len(last)-1]})
		}
		return all
	}
	type item struct{ PK struct{ S string } }
	var named struct {
		QueueUrl, QueueName, TableName, IndexName string
		RequestItems                              map[string][]struct {
			PutRequest    *struct{ Item item }
			DeleteRequest *struct{ Key item }
		}
		Item, Key                 *item
		ExpressionAttributeValues map[string]struct{ S string }
	}
	if json.Unmarshal(body, &named) != nil {
		return nil
	}
	if service == "AmazonSQS" {
		// A batch needs the permission of its entries ("Actions, resources, and condition keys for Amazon SQS").
		queue := named.QueueName
		if named.QueueUrl != "" {
			queue = filepath.Base(named.QueueUrl)
		}
		return []request{{permission: "sqs:" + strings.TrimSuffix(operation, "Batch") + " " + queue}}
	}
	keys := map[string]bool{}
	for _, i := range []*item{named.Item, named.Key} {
		if i != nil {
			keys[i.PK.S] = true
		}
	}
	if operation == "Query" {
		keys[named.ExpressionAttributeValues[":pk"].S] = true
	}
	resource := "table/" + named.TableName
	for name, writes := range named.RequestItems {
		resource = "table/" + name
		for _, w := range writes {
			if w.PutRequest != nil {
				keys[w.PutRequest.Item.PK.S] = true
			} else {
				keys[w.DeleteRequest.Key.PK.S] = true
			}
		}
	}
	if named.IndexName != "" {
		resource += "/index/" + named.IndexName
	}
	need := request{permission: "dynamodb:" + operation + " " + resource}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		need.keys += key + "\n"
	}
	return []request{need}
}

// needed are the requests that were made so far, sorted.
func needed(f *front, of map[request]bool) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(of), func(a, b request) int {
		return cmp.Or(strings.Compare(a.permission, b.permission), strings.Compare(a.keys, b.keys))
	})
}

// has says whether a call was made, whatever its keys.
func has(f *front, call string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.asked {
		if r.permission == call {
			return true
		}
	}
	return false
}

// programs builds worker and producer once.
var programs = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "tributary-cloudformation-*")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", folder+string(filepath.Separator), "tributary/cmd/worker", "tributary/cmd/producer").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return folder, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if folder, err := programs(); err == nil {
		_ = os.RemoveAll(folder)
	}
	os.Exit(status)
}

func program(t *testing.T, at, name string, arguments ...string) *exec.Cmd {
	t.Helper()
	folder, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(folder, name), arguments...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TRIBUTARY_") || strings.HasPrefix(v, "OTEL_")
	})
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+at, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID="+own, "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	return cmd
}

func run(t *testing.T, at, name string, arguments ...string) string {
	t.Helper()
	out, err := program(t, at, name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
	return string(out)
}
