package generator

import (
	"fmt"
	"math/rand/v2"

	"tributary/internal/schema"
)

// builtinValue makes the value of a field of the built-in types. These have values of their own, not those that a declaration
// would give, because a seed must go on making what it always has.
func builtinValue(f *schema.Field, rng *rand.Rand, tenant string, n int) string {
	switch f.Name {
	case "user_name":
		return fmt.Sprintf("User %d of %s", n, tenant)
	case "user_email":
		return fmt.Sprintf("user%d@%s.example", n, tenant)
	case "order_amount":
		return amount(rng)
	}
	return f.Sample(rng)
}

// amount is one of many small ones and few large ones, in cents: each doubling from 1.28 to 655.36 is as likely.
func amount(rng *rand.Rand) string {
	low := 128 << rng.IntN(9)
	cents := low + rng.IntN(low)
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}
