package query_test

import (
	"strings"
	"testing"

	"tributary/internal/query"
	"tributary/internal/schema"
)

// cursorsBefore are cursors as they were handed out before types could be declared.
var cursorsBefore = []struct{ path, cursor string }{
	{"/users?limit=1", "Aa2NQY5b36WSAkWA7DAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"},
	{"/users?limit=1&descending=true", "AYEgKwof0gJUYkZ9kTAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMg"},
	{"/users?limit=1&consistent=true", "Aa2NQY5b36WSAkWA7DAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"},
	{"/users?limit=1&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z", "AVQVOgx3okShv4P3-TAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"},
	{"/orders?limit=1", "ATckeo88Ufa7us2tPzAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"},
	{"/orders?limit=1&descending=true&since=2026-01-01T00:00:00Z", "AchyiVXrM935y3aU_TAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwOQ"},
	{"/users/u1/orders?limit=1", "Ae4MwhexVWbJtMRM3jAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"},
	{"/users/u1/orders?limit=1&descending=true", "AS3UfIOXcngX1iMiSzAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwYTI"},
	{"/users/a%2Fb%20%C3%BC/orders?limit=1&until=2026-01-02T00:00:00Z", "AdxAGFL7aV1uQGdVpzAxOWI3NmRhLWE4MDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwOA"},
}

// TestCursorsOfEarlierVersions: a walk goes on over an upgrade, with the built-in types and with a file that adds to them.
func TestCursorsOfEarlierVersions(t *testing.T) {
	more := `types:
  site: {}
  order:
    fields:
      site_id:      {type: string, references: site}
      user_id:      {type: string, required: true, references: user}
      order_amount: {type: number, required: true}
      note:         {type: string}
  user:
    fields:
      site_id:    {type: string, references: site}
      user_name:  {type: string, required: true}
      user_email: {type: string, required: true}
`
	extended, err := schema.Read("types.yaml", []byte(more))
	if err != nil {
		t.Fatal(err)
	}
	const first, second = "019b76da-a800-7000-8000-000000000001", "019b76da-a800-7000-8000-000000000002"
	fake := newFake(t)
	for _, id := range []string{first, second} {
		fake.put(user("tenantA", id), order("tenantA", id, "u1"), order("tenantA", "x"+id, "a/b ü"), order("tenantA", id[:35]+"a"+id[35:], "u1"))
	}
	fake.put(order("tenantA", second[:35]+"8", "a/b ü"), order("tenantA", second[:35]+"9", "a/b ü"))
	for name, types := range map[string]*schema.Set{"built-in": schema.Builtin(), "with more": extended} {
		base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: types})
		for _, c := range cursorsBefore {
			a := get(t, base+"/v1/tenants/tenantA"+c.path)
			if got := decode[ordersPageAny](t, a).NextCursor; got == "" || got != c.cursor {
				t.Errorf("%s: %s: got the cursor %q, want %q", name, c.path, got, c.cursor)
			}
			a = get(t, base+"/v1/tenants/tenantA"+c.path+"&cursor="+c.cursor)
			if p := decode[ordersPageAny](t, a); len(p.Items) != 1 {
				t.Errorf("%s: %s goes on with %s", name, c.path, a)
			}
			if a := get(t, base+"/v1/tenants/tenantA"+strings.Replace(c.path, "u1", "u2", 1)+"&cursor="+c.cursor); strings.Contains(c.path, "u1") && a.status != 400 {
				t.Errorf("%s: the cursor of %s is good for another user: %s", name, c.path, a)
			}
		}
	}
}
