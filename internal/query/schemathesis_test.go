package query_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tributary/internal/query"
	"tributary/test/support/pytools"
)

// TestSchemathesis lets schemathesis make up requests from the OpenAPI document that the server serves, right and wrong
// ones, and compare the answers with it. It is a test of its own, `make schemathesis`, as it takes a minute.
func TestSchemathesis(t *testing.T) {
	if os.Getenv("TRIBUTARY_SCHEMATHESIS") == "" {
		t.Skip("run it by make schemathesis (TRIBUTARY_SCHEMATHESIS=1)")
	}
	tool := pytools.Need(t, pytools.Schemathesis)
	fake := newFake(t)
	for _, tenant := range []string{"tenantA", "0", "a"} {
		for i := range 250 {
			id := fmt.Sprintf("%d", i)
			fake.put(user(tenant, "u"+id), order(tenant, "o"+id, "u1"), user(tenant, id), order(tenant, id, id), tombstone(tenant, "x"+id))
		}
	}
	cfg := defaults()
	cfg.Auth.Tokens = filepath.Join(t.TempDir(), "tokens.json")
	token := staticToken(t, cfg.Auth.Tokens, "schemathesis", time.Now().Add(time.Hour), "*")
	base := serve(t, cfg, query.Deps{DynamoDB: fake})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool.Python, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
		"run", base+"/openapi.json", "--header", "Authorization: Bearer "+token,
		// No schema can say that a cursor must be one that this server made for this query, or that cursor and after
		// exclude each other: that is what the check left out here would complain of.
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-examples", "60", "--seed", "1", "--workers", "1", "--max-failures", "20",
		"--request-timeout", "10", "--no-color", "--generation-database", "none")
	cmd.Env = tool.Env()
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("schemathesis found something: %v", err)
	}
}
