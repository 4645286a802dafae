package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/test/support/declarations"
	"tributary/test/support/pytools"
)

// TestSchemathesis lets schemathesis make up requests from the OpenAPI document that the server serves, right and wrong
// ones, and compare the answers with it. It is `make schemathesis`, as it takes minutes.
func TestSchemathesis(t *testing.T) {
	tool := needSchemathesis(t)
	fake := newFake(t)
	for _, tenant := range schemathesisTenants {
		for i := range 250 {
			id := fmt.Sprintf("%d", i)
			fake.put(user(tenant, "u"+id), order(tenant, "o"+id, "u1"), user(tenant, id), order(tenant, id, id), tombstone(tenant, "x"+id))
		}
	}
	schemathesis(t, tool, fake, schema.Builtin(), 60)
}

// TestSchemathesisOfDeclaredTypes does so with random declarations, and with the items of random commands. It makes fewer
// requests for each.
func TestSchemathesisOfDeclaredTypes(t *testing.T) {
	tool := needSchemathesis(t)
	ids := []string{"0", "1", "a", "A", "00", "\u00e9"}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			declared := mustRead(t, declarations.Random(r, 1+r.IntN(9)))
			fake := newFakeOf(t, declared)
			for _, tenant := range schemathesisTenants {
				for _, typ := range declared.Types {
					some := append([]string{typ.ExampleID()}, ids...)
					for _, id := range some {
						c := randomPut(r, typ, tenant, id, some)
						fake.put(table.Item(&c))
					}
				}
			}
			schemathesis(t, tool, fake, declared, 3)
		})
	}
}

// schemathesisTenants are those that schemathesis asks for often: the document's example, and the shortest names.
var schemathesisTenants = []string{"tenantA", "0", "a"}

func needSchemathesis(t *testing.T) pytools.Tool {
	t.Helper()
	if os.Getenv("TRIBUTARY_SCHEMATHESIS") == "" {
		t.Skip("run it by make schemathesis (TRIBUTARY_SCHEMATHESIS=1)")
	}
	return pytools.Need(t, pytools.Schemathesis)
}

// schemathesis asks a server over the fake, with so many examples of each operation at most.
func schemathesis(t *testing.T, tool pytools.Tool, fake *scripted, declared *schema.Set, examples int) {
	t.Helper()
	cfg := defaults()
	cfg.Auth.Tokens = filepath.Join(t.TempDir(), "tokens.json")
	token := staticToken(t, cfg.Auth.Tokens, "schemathesis", time.Now().Add(time.Hour), "*")
	base := serve(t, cfg, query.Deps{DynamoDB: fake, Types: declared})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool.Python, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
		"run", base+"/openapi.json", "--header", "Authorization: Bearer "+token,
		// No schema can say that a cursor must be one that this server made for this query, or that cursor and after
		// exclude each other: that is what the check left out here would complain of.
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-examples", strconv.Itoa(examples), "--seed", "1", "--workers", "1", "--max-failures", "20",
		"--request-timeout", "10", "--no-color", "--generation-database", "none")
	cmd.Env = tool.Env()
	cmd.Dir = t.TempDir()
	// Its own list of refusals has no 414, which wrong parameters get where they are long.
	writeFile(t, filepath.Join(cmd.Dir, "schemathesis.toml"), []byte("[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 405, 414, 415, 431]\n"))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("schemathesis found something: %v", err)
	}
}
