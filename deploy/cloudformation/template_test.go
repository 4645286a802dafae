package cloudformation_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"tributary/internal/pytools"
)

const cfnLint = "cfn-lint==1.58.0"

// mainOfCfnLint is what its command does.
const mainOfCfnLint = "import sys; from cfnlint.runner import main; sys.exit(main())"

// TestTemplateIsCleanByCfnLint has AWS's own schemas look at the template.
func TestTemplateIsCleanByCfnLint(t *testing.T) {
	tool := pytools.Need(t, cfnLint)
	cmd := exec.CommandContext(t.Context(), tool.Python, "-c", mainOfCfnLint, "--regions", "us-east-1", "--", "tributary.yaml")
	cmd.Env = tool.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}

// TestCfnLintFindsFaults shows that the test above can fail.
func TestCfnLintFindsFaults(t *testing.T) {
	tool := pytools.Need(t, cfnLint)
	template, err := os.ReadFile("tributary.yaml")
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
