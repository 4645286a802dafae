package query_test

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"

	"tributary/internal/operate/setup"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/localstack/stack"
)

// TestBackendsAnswerAsTheFakeDoes asks the same of a server over the fake and of one over a DynamoDB: the embedded one,
// and DynamoDB Local where TRIBUTARY_TEST_DYNAMODB names it. So the fake's rules are DynamoDB's.
func TestBackendsAnswerAsTheFakeDoes(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		server := stack.New(stack.Options{Region: "us-east-1", Account: "000000000000"})
		front := httptest.NewServer(server)
		t.Cleanup(func() { server.Close(); front.Close() })
		agree(t, front.URL)
	})
	t.Run("DynamoDB Local", func(t *testing.T) {
		endpoint := os.Getenv("TRIBUTARY_TEST_DYNAMODB")
		if endpoint == "" {
			const how = "TRIBUTARY_TEST_DYNAMODB is not set: run it by make test"
			if os.Getenv("CI") == "true" {
				t.Fatal(how)
			}
			t.Skip("NOT RUN: " + how)
		}
		agree(t, endpoint)
	})
}

func agree(t *testing.T, endpoint string) {
	client := dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
	name := "query-" + uuid.NewString()
	text := func(names ...string) (definitions []types.AttributeDefinition) {
		for _, n := range names {
			definitions = append(definitions, types.AttributeDefinition{AttributeName: aws.String(n), AttributeType: types.ScalarAttributeTypeS})
		}
		return definitions
	}
	if _, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest, KeySchema: setup.TableKeys(),
		AttributeDefinitions: text(table.PKAttribute, table.SKAttribute, "user_id"),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("orders_by_user"), KeySchema: setup.IndexKeys(schema.Builtin().References[0]), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(client).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var items []table.Attributes
	var ids []string
	for i := range 120 {
		id := uuid7(start.Add(time.Duration(i)*time.Minute), r)
		ids = append(ids, id)
		switch i % 4 {
		case 0:
			items = append(items, seedOrder("tenantA", id, "u1"))
		case 1:
			items = append(items, tombstone("tenantA", id))
		default:
			items = append(items, order("tenantA", id, fmt.Sprintf("u%d", i%2+1)))
		}
	}
	items = append(items, user("tenantA", "u1"), user("tenantA", "u2"), user("tenantA", "ü/€ 𝄞"), order("tenantA", "o1", "u1"), order("tenantA", "zz", "u1"), user("tenantB", "u1"), order("tenantB", ids[5], "u1"))
	fake := newFake(t)
	fake.put(items...)
	for _, item := range items {
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	want := serve(t, defaults(), query.Deps{DynamoDB: fake})
	got := serve(t, defaults(), query.Deps{DynamoDB: client, Table: name})

	at := func(minutes int) string {
		return url.QueryEscape(start.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339))
	}
	const a = "/v1/tenants/tenantA"
	asked := []string{
		a + "/users/u1", a + "/users/u1?consistent=true", a + "/users/nobody", a + "/users/%C3%BC%2F%E2%82%AC%20%F0%9D%84%9E", a + "/orders/" + ids[0], a + "/orders/" + ids[1], a + "/orders/" + ids[2] + "?consistent=true",
		a + "/orders/" + strings.Repeat("x", 256),
	}
	for _, list := range []string{"/users", "/orders", "/users/u1/orders", "/users/u2/orders", "/users/nobody/orders"} {
		for _, q := range []string{
			"limit=1", "limit=7", "limit=1000", "since=" + at(30), "until=" + at(30) + "&limit=3", "since=" + at(10) + "&until=" + at(90) + "&limit=5", "since=" + at(500),
			"after=" + ids[50] + "&limit=4", "after=a&limit=10", "after=zzzz", "since=" + at(10) + "&until=" + at(90) + "&after=" + ids[95], "since=" + at(10) + "&until=" + at(90) + "&after=" + ids[5],
		} {
			for _, more := range []string{"", "&descending=true", "&consistent=true"} {
				if more != "&consistent=true" || !strings.Contains(list, "/u") || list == "/users" {
					asked = append(asked, a+list+"?"+q+more)
				}
			}
		}
	}
	pages := 0
	for _, path := range asked {
		for next := path; next != ""; pages++ {
			w, g := get(t, want+next), get(t, got+next)
			if w.status != g.status || w.body != g.body {
				t.Errorf("%s:\ngot  %s\nwant %s", next, g, w)
				break
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(w.header.Get("Link"), "<"), ">")
		}
	}
	export := []string{"Accept", "application/x-ndjson"}
	for _, path := range []string{"/orders", "/users/u1/orders?descending=true", "/orders?since=" + at(7)} {
		if w, g := get(t, want+a+path, export...), get(t, got+a+path, export...); w.body != g.body || strings.Count(w.body, "\n") < 20 {
			t.Errorf("the export of %s:\ngot  %s\nwant %s", path, g, w)
		}
	}
	t.Logf("%d answers were the same", pages)
}
