// Package lambda_test runs the real function behind a simulated event source mapping.
package lambda_test

import (
	"fmt"
	"testing"
	"time"

	"tributary/test/lambda/simulator"
)

func order(tenant, id string, n int) string {
	return fmt.Sprintf(`{"type":"put_order","tenant_id":%q,"order_id":%q,"user_id":"u","order_amount":"%d"}`, tenant, id, n)
}

func TestMoves(t *testing.T) {
	r := newRig(t, false, 60)
	for i := range 30 {
		r.send("", order("tenantA", fmt.Sprint("o", i), i))
	}
	cfg := r.config()
	cfg.Freeze = true
	m := simulator.New(cfg)
	r.drain(m, 30*time.Second)
	t.Log(&m.Stats)
	if err := m.Problem(); err != nil {
		t.Error(err)
	}
}
