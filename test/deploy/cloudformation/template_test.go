package cloudformation_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tributary/test/support/pytools"
)

const cfnLint = "cfn-lint==1.58.0"

// mainOfCfnLint is what its command does.
const mainOfCfnLint = "import sys; from cfnlint.runner import main; sys.exit(main())"

// TestTemplateIsCleanByCfnLint has AWS's own schemas look at the template.
func TestTemplateIsCleanByCfnLint(t *testing.T) {
	tool := pytools.Need(t, cfnLint)
	cmd := exec.CommandContext(t.Context(), tool.Python, "-c", mainOfCfnLint, "--regions", "us-east-1", "--", "../../../deploy/cloudformation/tributary.yaml")
	cmd.Env = tool.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}

// TestCfnLintFindsFaults shows that the test above can fail.
func TestCfnLintFindsFaults(t *testing.T) {
	tool := pytools.Need(t, cfnLint)
	template, err := os.ReadFile("../../../deploy/cloudformation/tributary.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := t.TempDir() + "/wrong.yaml"
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(template), "VisibilityTimeout: 60", "VisibilityTimeout: 60000", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool.Python, "-c", mainOfCfnLint, "--", wrong)
	cmd.Env = tool.Env()
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "VisibilityTimeout") && !strings.Contains(string(out), "60000") {
		t.Errorf("cfn-lint accepts a visibility timeout of 60000 s: %v\n%s", err, out)
	}
}

// part returns a part of the template as YAML, where its functions have their short names.
func part(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/cloudformation/tributary.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	at := document.Content[0]
	for _, name := range path {
		i := slices.IndexFunc(at.Content, func(n *yaml.Node) bool { return n.Value == name })
		if i < 0 {
			t.Fatalf("the template has no %s of %q", name, path)
		}
		at = at.Content[i+1]
	}
	out, err := yaml.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEveryWriteIsWatched: the alarm on the table's errors has an eye on each call by which workers may write.
func TestEveryWriteIsWatched(t *testing.T) {
	alarm := part(t, "Resources", "TableErrorsAlarm", "Properties")
	writes := regexp.MustCompile(`dynamodb:((?:Batch|Put|Update|Delete|Transact)\w*)`).FindAllStringSubmatch(part(t, "Resources", "WorkerPolicy"), -1)
	if len(writes) < 2 {
		t.Errorf("workers write by %q", writes)
	}
	for _, write := range writes {
		if !strings.Contains(alarm, "Value: "+write[1]+"}") {
			t.Errorf("TableErrorsAlarm doesn't watch %s:\n%s", write[1], alarm)
		}
	}
}

// TestQueriesParametersAreAsserted: what the query task takes from a parameter that is empty by default, the rule asks for.
func TestQueriesParametersAreAsserted(t *testing.T) {
	rule := part(t, "Rules", "QueriesNeedAuthentication", "Assertions")
	var parameters map[string]struct {
		Default any `yaml:"Default"`
	}
	if err := yaml.Unmarshal([]byte(part(t, "Parameters")), &parameters); err != nil {
		t.Fatal(err)
	}
	wanted := 0
	environment := part(t, "Resources", "QueryTask", "Properties", "ContainerDefinitions")
	for _, value := range regexp.MustCompile(`- \{Name: \w+, Value: !Ref (\w+)\}`).FindAllStringSubmatch(environment, -1) {
		if parameters[value[1]].Default != "" {
			continue
		}
		wanted++
		if !strings.Contains(rule, `!Not [!Equals [!Ref `+value[1]+`, ""]]`) {
			t.Errorf("QueriesNeedAuthentication doesn't ask for %s:\n%s", value[1], rule)
		}
	}
	if wanted < 3 {
		t.Errorf("only %d such parameters were found", wanted)
	}
}

// TestTrustIsNarrow: ECS takes the tasks' roles for this account's tasks alone, and the reader role for one tenant and no other
// tag, as in deploy/iam.
func TestTrustIsNarrow(t *testing.T) {
	for _, role := range []string{"WorkerTaskRole", "QueryTaskRole"} {
		trust := part(t, "Resources", role, "Properties", "AssumeRolePolicyDocument")
		for _, want := range []string{`'aws:SourceAccount': !Ref 'AWS::AccountId'`, `'aws:SourceArn': !Sub`} {
			if !strings.Contains(trust, want) {
				t.Errorf("%s is taken by any account's tasks: it lacks %s:\n%s", role, want, trust)
			}
		}
	}
	byHand, err := os.ReadFile("../../../deploy/iam/reader-role-trust.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ReaderRole": part(t, "Resources", "ReaderRole", "Properties", "AssumeRolePolicyDocument"), "deploy/iam": string(byHand)} {
		var document struct {
			Statement []struct {
				Condition map[string]map[string]any `yaml:"Condition"`
			} `yaml:"Statement"`
		}
		if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Statement) != 1 {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		condition := document.Statement[0].Condition
		if condition["StringLike"]["aws:RequestTag/tenant_id"] != "?*" {
			t.Errorf("%s may be taken for no tenant: %v", name, condition)
		}
		if keys, _ := condition["ForAllValues:StringEquals"]["aws:TagKeys"].([]any); len(keys) != 1 || keys[0] != "tenant_id" {
			t.Errorf("%s may be taken with other tags: %v", name, condition)
		}
	}
}

// TestPoliciesByHandAreTheTemplates: deploy/iam allows workers and operators the same as the template does.
func TestPoliciesByHandAreTheTemplates(t *testing.T) {
	type policy struct {
		Statement []struct {
			Sid       string `yaml:"Sid"`
			Action    any    `yaml:"Action"`
			Condition any    `yaml:"Condition"`
		} `yaml:"Statement"`
	}
	read := func(text string) map[string]string {
		t.Helper()
		var p policy
		if err := yaml.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, s := range p.Statement {
			all[s.Sid] = fmt.Sprint(s.Action, s.Condition)
		}
		return all
	}
	for _, c := range []struct {
		file, resource string
		all            bool // of the resource's statements
	}{{"worker-tenants-policy.json", "WorkerPolicy", false}, {"worker-tenants-policy.json", "QueryPolicy", false}, {"operator-policy.json", "OperatorPolicy", true}} {
		text, err := os.ReadFile("../../../deploy/iam/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		byHand, template := read(string(text)), read(part(t, "Resources", c.resource, "Properties", "PolicyDocument"))
		for sid, statement := range byHand {
			if template[sid] != statement {
				t.Errorf("%s of %s is %s, of %s %s", sid, c.file, statement, c.resource, template[sid])
			}
		}
		if len(byHand) < 2 || c.all && len(byHand) != len(template) {
			t.Errorf("%s has %d statements, %s %d", c.file, len(byHand), c.resource, len(template))
		}
	}
}

// TestAdminPortIsClosed: without AdminClientSecurityGroupId nobody reaches it but the load balancer's health checks.
func TestAdminPortIsClosed(t *testing.T) {
	if workers := part(t, "Resources", "WorkerSecurityGroup", "Properties"); strings.Contains(workers, "SecurityGroupIngress") {
		t.Errorf("workers let somebody in:\n%s", workers)
	}
	queries := part(t, "Resources", "QuerySecurityGroup", "Properties", "SecurityGroupIngress")
	if n := strings.Count(queries, "SourceSecurityGroupId: !Ref QueryClientSecurityGroupId"); n != 2 || strings.Count(queries, "FromPort") != n {
		t.Errorf("the query API lets in others than the load balancer:\n%s", queries)
	}
	for resource, condition := range map[string]string{"WorkerAdminIngress": "OpensWorkers", "QueryAdminIngress": "OpensQueries"} {
		if got := strings.TrimSpace(part(t, "Resources", resource, "Condition")); got != condition {
			t.Errorf("%s is there if %s, want %s", resource, got, condition)
		}
		if got := part(t, "Conditions", condition); !strings.Contains(got, `!Not [!Equals [!Ref AdminClientSecurityGroupId, ""]]`) {
			t.Errorf("%s is %s", condition, got)
		}
	}
	if trusts := part(t, "Parameters", "AdminClientSecurityGroupId", "Default"); strings.TrimSpace(trusts) != `""` {
		t.Errorf("AdminClientSecurityGroupId is %s by default", trusts)
	}
}
