package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/test/support/pytools"
)

const readerRole = "arn:aws:iam::123456789012:role/tributary-reader"

// watchedSTS passes calls on and remembers them.
type watchedSTS struct {
	*sts.Client
	mu    sync.Mutex // guards calls
	calls []*sts.AssumeRoleInput
}

func (w *watchedSTS) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, opts ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	w.mu.Lock()
	w.calls = append(w.calls, in)
	w.mu.Unlock()
	return w.Client.AssumeRole(ctx, in, opts...)
}

// TestReaderRoleIsAssumedForEachTenantByMoto has moto's STS give the credentials.
func TestReaderRoleIsAssumedForEachTenantByMoto(t *testing.T) {
	url := pytools.StartMoto(t)
	client := &watchedSTS{Client: sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("worker", "secret", "")})}
	fake := newFake(t)
	cfg := defaults()
	cfg.ReaderRole, cfg.QueryConcurrency = readerRole, 1000
	base := serve(t, cfg, query.Deps{DynamoDB: fake, STS: client})
	tenants := []string{"tenantA", "b:c=d@e+f_g", strings.Repeat("x", 128)}
	var all sync.WaitGroup
	for range 20 {
		for _, tenant := range tenants {
			for _, route := range routes {
				all.Go(func() {
					if a := get(t, base+"/v1/tenants/"+tenant+route); a.status != 200 && a.status != 404 {
						t.Errorf("%s: %s", route, a)
					}
				})
			}
		}
	}
	all.Wait()
	assumed := map[string]int{}
	for _, in := range client.calls {
		if len(in.Tags) != 1 || aws.ToString(in.Tags[0].Key) != "tenant_id" || aws.ToString(in.RoleArn) != readerRole || aws.ToInt32(in.DurationSeconds) != 3600 {
			t.Errorf("assumed with %+v", in)
			continue
		}
		assumed[aws.ToString(in.Tags[0].Value)]++
	}
	for _, tenant := range tenants {
		if assumed[tenant] != 1 {
			t.Errorf("%s: the role was assumed %d times", tenant, assumed[tenant])
		}
	}
	if len(assumed) != len(tenants) {
		t.Errorf("the role was assumed for %v", assumed)
	}
	// Every call of a tenant's used its own credentials, which moto made.
	if len(fake.credentials) != len(tenants) {
		t.Errorf("%d credentials for %d tenants", len(fake.credentials), len(tenants))
	}
	for key, n := range fake.credentials {
		if !strings.HasPrefix(key, "ASIA") || n != 20*len(routes) {
			t.Errorf("%d calls were made as %q", n, key)
		}
	}
}

// timedSTS gives credentials that are good for as long as asked.
type timedSTS struct {
	calls int
	err   error
}

func (s *timedSTS) AssumeRole(_ context.Context, in *sts.AssumeRoleInput, _ ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	s.calls++
	if s.err != nil {
		return nil, s.err
	}
	return &sts.AssumeRoleOutput{Credentials: &types.Credentials{
		AccessKeyId: aws.String(fmt.Sprintf("ASIA%d", s.calls)), SecretAccessKey: aws.String("s"), SessionToken: aws.String("t"),
		Expiration: aws.Time(time.Now().Add(time.Duration(*in.DurationSeconds) * time.Second)),
	}}, nil
}

func TestReaderRoleIsAssumedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &timedSTS{}
		cfg := defaults()
		cfg.ReaderRole, cfg.QueryTenants = readerRole, 2
		s, err := query.New(t.Context(), cfg, query.Deps{Types: schema.Builtin(), DynamoDB: newFake(t), STS: client, Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		read := func(tenant string, status, calls int) {
			t.Helper()
			if w := record(t, s.Handler(), "/v1/tenants/"+tenant+"/users"); w.Code != status || client.calls != calls {
				t.Errorf("%s at %s: %d, %d calls, want %d", tenant, time.Now().Format(time.TimeOnly), w.Code, client.calls, calls)
			}
		}
		read("a", 200, 1)
		time.Sleep(58 * time.Minute)
		read("a", 200, 1)
		time.Sleep(2 * time.Minute)
		read("a", 200, 2)
		// The table of tenants is bounded: the one that was used longest ago is forgotten.
		read("b", 200, 3)
		read("c", 200, 4)
		read("b", 200, 4)
		read("a", 200, 5)
		read("b", 200, 5) // c was forgotten, not b, which was used after it
		// STS fails: no read uses other credentials.
		client.err = &smithy.GenericAPIError{Code: "AccessDenied"}
		read("d", 500, 6)
		client.err = &smithy.GenericAPIError{Code: "Throttling"}
		read("d", 503, 7)
		client.err = errors.New("gone")
		read("d", 500, 8)
	})
}

// TestReaderRolePolicyFitsTheTable compares the policy in deploy with the names that the code uses.
func TestReaderRolePolicyFitsTheTable(t *testing.T) {
	for name, wants := range map[string][]string{
		"reader-role-policy.json": {
			`"dynamodb:LeadingKeys":["` + table.PartitionKey("${aws:PrincipalTag/tenant_id}") + `"]`, "table/" + tableName + `"`,
			"table/" + tableName + `/index/*"`, `"dynamodb:LeadingKeys":"false"`, `"Action":["dynamodb:GetItem","dynamodb:Query"]`,
		},
		"reader-role-trust.json": {`"sts:TagSession"`, `"aws:TagKeys":["tenant_id"]`, `"StringLike":{"aws:RequestTag/tenant_id":"?*"}`},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "iam", name))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		compact, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(compact), want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
	}
}
